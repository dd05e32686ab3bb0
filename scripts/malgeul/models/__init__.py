"""Weights, tokenizers and devices: what the wings that use a model share."""
