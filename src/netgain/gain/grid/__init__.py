"""Metric pullback of convolutional pieces on a shifted circulant grid: one small form a frequency."""
