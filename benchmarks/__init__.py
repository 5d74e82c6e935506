"""Benchmarks: one interface for every method, ours and the baselines."""


class BenchmarkError(Exception):
    """What the user asked for cannot be done; the message is one line that says why and what to do."""
