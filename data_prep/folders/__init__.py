"""Work on finished folders of shards: whether they are whole, what became of the inputs, and parting them by time."""
