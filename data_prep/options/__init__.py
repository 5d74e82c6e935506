"""What the commands of ``python -m data_prep`` may be told, a module each. Nothing here needs torch: help is quick."""
