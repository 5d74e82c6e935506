"""The four questions that one model answers."""
