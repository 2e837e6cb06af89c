"""Makes a client look like an agent framework's own services: one package for each framework."""
