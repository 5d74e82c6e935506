"""The network that makes pictures with their depth, and its reference."""
