"""Channels of speech to transcripts, and the measured facts of a conversation."""
