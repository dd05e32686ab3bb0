"""Documents to chunks, vectors, a searchable index and a new version in their database."""
