"""The network that draws pictures with their depth, and its reference."""
