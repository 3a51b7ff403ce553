"""The network graph: node kinds, reading, folding, checks."""
