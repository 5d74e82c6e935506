"""Depth of photos that have no true depth: whether it holds what must hold anyway."""
