"""The head model: its files, its parts, its landmarks, and a rasteriser."""
