"""PostgreSQL and SQLite: pools, and statements in the form that is fast on each."""

from worker.database.engines import Database, DatabaseOptions, is_memory, parse_url

__all__ = ["Database", "DatabaseOptions", "is_memory", "parse_url"]
