"""Convolutions as contractions: forms, windows, tiles."""
