"""How others see that a worker is there, and what its processes have done."""
