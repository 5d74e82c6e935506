"""Shards: what a sample holds, and how it is written and read."""
