"""Bounds of the gain of a whole network, one method a file."""
