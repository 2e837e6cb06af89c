"""The zdk command: the client's verbs, and the operator's where the worker is installed.

The only part of the client that imports typer and rich, besides the demo's report.
"""
