"""What everything stands on: norms, rounding, results, errors. Knows nothing of networks."""
