"""The dashboard's panels, asked for in a real Prometheus while a load runs, and drawn.

``python -m tests.dashboard`` fails if a panel has no data.
"""
