"""Readers of how far a mouth is open, with the training of those that ship."""
