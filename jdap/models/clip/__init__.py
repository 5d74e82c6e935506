"""The network that draws clips, and what drives it."""
