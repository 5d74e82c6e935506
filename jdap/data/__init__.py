"""From shards to batches: a visible list of WebDataset processors, and the Lightning data modules."""
