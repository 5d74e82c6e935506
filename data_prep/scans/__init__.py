"""Textured scans of heads."""
