"""Sound and video files, in blocks."""
