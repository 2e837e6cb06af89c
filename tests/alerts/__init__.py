"""The alert rules in a real Prometheus, against real workers, a real queue and a real client.

``python -m tests.alerts`` makes each alert fire, mends what it is about, and sees it end.
"""
