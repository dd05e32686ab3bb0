"""Raw Korean text to filtered documents, every rejection with its reason and value."""
