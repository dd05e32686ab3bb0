"""Filtered documents to samples, tokens and one dataset."""
