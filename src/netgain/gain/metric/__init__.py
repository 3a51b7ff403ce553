"""Metric pullback: multipliers whose certificates prove tight global l2 bounds, found but not proved here."""
