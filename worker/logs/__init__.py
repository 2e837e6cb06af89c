"""A worker's log: where it goes, its form, its lines, and what may not stand in them."""
