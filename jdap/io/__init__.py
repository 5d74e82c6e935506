"""Files: whole or not at all, fetched, shipped; and the device to compute on."""
