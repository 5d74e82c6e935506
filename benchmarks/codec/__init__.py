"""Image codecs: error against seconds."""
