"""Sessions: evaluated in memory, written in bulk, read by index."""
