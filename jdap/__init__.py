"""JDAP: joint learning of depth and appearance for portrait image animation (arXiv 2501.08649)."""

__version__ = "0.1.0"
