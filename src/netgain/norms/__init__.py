"""Rigorous operator norms of linear maps, one method a file."""
