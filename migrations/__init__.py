"""Alembic's revisions; `worker.schema` is where they lead."""
