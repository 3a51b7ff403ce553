"""Gains over regions: condensed forms of many inputs, their multipliers, and bounds of whole networks."""
