"""Clips that talk."""
