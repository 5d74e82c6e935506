"""What the commands of ``python -m benchmarks`` may be told, a module each. Nothing here needs torch: help is quick."""
