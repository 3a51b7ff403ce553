"""Deciders: each proves of inputs that no point of a region around them is classified otherwise."""
