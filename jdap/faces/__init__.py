"""Faces in pictures, and the square that is cut around them; shared by data preparation and by what reads photos."""
