"""Certified radii, certified accuracy, attacks, and the audit that joins them."""
