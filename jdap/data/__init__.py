"""From shards to batches: a visible list of WebDataset stages, and the Lightning data modules."""
