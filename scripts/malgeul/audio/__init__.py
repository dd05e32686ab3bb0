"""Recordings to 16 kHz mono PCM, with what was measured on the way."""
