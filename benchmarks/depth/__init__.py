"""Depth of pictures: methods, scores, tables."""
