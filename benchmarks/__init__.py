"""Benchmarks: one interface for every method, ours and the baselines."""
