"""What benchmarks found, on one page."""
