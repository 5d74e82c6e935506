"""The network that makes clips, and what drives it."""
