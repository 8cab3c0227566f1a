"""Sums of products: from a group to launches."""
