"""How many connections the database's server has, and how many it gives."""

from __future__ import annotations

from sqlalchemy import Connection, text

# Those reserved for superusers are not for us.
_CONNECTIONS = text(
    "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
    " current_setting('max_connections')::int"
    " - current_setting('superuser_reserved_connections')::int"
    " - coalesce(current_setting('reserved_connections', true)::int, 0)"
)


def taken_and_most(connection: Connection) -> tuple[int, int]:
    """How many clients are connected to this PostgreSQL server, and how many ordinary users'
    connections it takes at most."""
    taken, most = connection.execute(_CONNECTIONS).one()
    return int(taken), int(most)
