"""How messages and queries reach a worker, and how their replies come back."""
