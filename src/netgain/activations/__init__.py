"""Scalar activations: slope and value ranges, one family a file."""
