"""What `zdk top` shows: looks at the broker, the workers and the database, and their sums."""
