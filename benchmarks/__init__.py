"""Measurements behind the numbers in the docs: `python -m benchmarks` prints them as ratios within one run."""
