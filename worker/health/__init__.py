"""Whether a worker lives, and whether it can do its work now."""
