"""A statement that PostgreSQL parses and plans once for each connection, not at each execution.

psycopg2 has no words for that, but PREPARE and EXECUTE are statements
(https://www.postgresql.org/docs/16/sql-prepare.html).
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.exc import DBAPIError

log = logging.getLogger(__name__)

#: Seconds for which a plan is used: it is made for tables as large as they are at the time.
_PLAN_SECONDS = 10.0
#: SQLSTATE of a name that is not known (26000), or known already (42P05), on this connection.
_OTHER_CONNECTION = ("26000", "42P05")


class Prepared:
    """A statement for `execute`.

    A pooler that hands each statement to any of its connections cannot have it: then it is
    executed as it is.
    """

    def __init__(self, statement: Select[Any]):
        dialect: Any = PGDialect_psycopg2
        compiled: Any = statement.compile(dialect=dialect(paramstyle="numeric_dollar"))
        self._statement = statement
        self._compiled = compiled
        # By its text, so that another release's statement is never taken for it.
        self._name = f"zdk_{hashlib.sha256(compiled.string.encode()).hexdigest()[:16]}"
        self._prepare = f"PREPARE {self._name} AS {compiled.string}"
        self._execute = f"EXECUTE {self._name}({', '.join(['%s'] * len(compiled.positiontup))})"
        self._usable = True

    def execute(
        self, connection: Connection, parameters: Mapping[str, object]
    ) -> Sequence[Row[Any]]:
        """All rows of the statement, on a connection in autocommit mode.

        Raises:
            sqlalchemy.exc.DBAPIError: as of any statement.
        """
        if self._usable:
            try:
                return self._executed(connection, parameters)
            except DBAPIError as error:
                if getattr(error.orig, "pgcode", None) not in _OTHER_CONNECTION:
                    raise
                log.info("statements cannot be prepared here: is there a pooler in between?")
                self._usable = False
        return connection.execute(self._statement, parameters).all()

    def _executed(
        self, connection: Connection, parameters: Mapping[str, object]
    ) -> Sequence[Row[Any]]:
        now = time.monotonic()
        planned_at = connection.info.get(self._name)
        if planned_at is None or now - planned_at > _PLAN_SECONDS:
            old = "" if planned_at is None else f"DEALLOCATE {self._name}; "
            connection.exec_driver_sql((old + self._prepare).replace("%", "%%"), ())
            connection.info[self._name] = now
        given = self._compiled.construct_params(parameters)
        values = tuple(given[name] for name in self._compiled.positiontup)
        return connection.exec_driver_sql(self._execute, values).all()
