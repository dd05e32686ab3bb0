"""What a person reads: the audit's proof and the page of a run."""
