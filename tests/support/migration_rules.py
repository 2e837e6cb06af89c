"""What a migration may do while workers of this release and of the one before run on the schema.

Judges the SQL for PostgreSQL as Alembic writes it. docs/upgrading.md explains the rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

#: What takes something away that the release before may use. Allowed in a contract step.
_TAKES_AWAY = {
    r"^DROP TABLE": "drops a table",
    r"^DROP INDEX CONCURRENTLY": "drops an index",
    r"\bDROP COLUMN\b": "drops a column",
    r"\bDROP CONSTRAINT\b": "drops a constraint",
    r"\bSET NOT NULL\b": "refuses NULL, which the release before may write",
    r"\bADD CONSTRAINT\b(?!.*\b(PRIMARY KEY|UNIQUE)\b).*\bNOT VALID$": "adds a constraint",
}
#: What is never right: it breaks the release before, or locks a table for as long as it is large.
_NEVER = {
    r"\bRENAME\b": "renames; add the new one, write both, and drop the old one a release later",
    r"\bALTER COLUMN \S+ (SET DATA )?TYPE\b": "changes a type, which may rewrite the table",
    r"^CREATE (UNIQUE )?INDEX (?!CONCURRENTLY)": "makes an index without CONCURRENTLY",
    r"^DROP INDEX (?!CONCURRENTLY)": "drops an index without CONCURRENTLY",
    r"\bADD CONSTRAINT\b.*\b(PRIMARY KEY|UNIQUE) \(": "makes an index under a lock; give it USING "
    "INDEX, after CREATE UNIQUE INDEX CONCURRENTLY",
    r"\bADD CONSTRAINT\b(?!.*\bNOT VALID$)(?!.*\bUSING INDEX\b)": "checks all rows under a lock; "
    "add it NOT VALID, then VALIDATE CONSTRAINT",
    r"\bADD COLUMN\b(?!.*\bDEFAULT\b).*\bNOT NULL\b": "adds a column that the release before does "
    "not fill; give it a default, or let it be NULL",
    r"\bADD COLUMN\b.*\bDEFAULT (?!'|[-\d]|true\b|false\b|NULL\b|now\(\)|CURRENT_TIMESTAMP\b)": (
        "adds a column with a default that is computed for each row, which rewrites the table"
    ),
    r"\bADD COLUMN\b.*\b(GENERATED|UNIQUE|REFERENCES|PRIMARY KEY|SERIAL|BIGSERIAL)\b": "adds a "
    "column that rewrites or checks the table",
    r"^(UPDATE|DELETE)\b(?!.* alembic_version\b)": "changes rows all at once; do it in batches, in "
    "code, after the migration",
    r"^(LOCK|TRUNCATE|CLUSTER|VACUUM FULL)\b": "locks a table",
    r"^SET (LOCAL )?lock_timeout": "changes the lock timeout, which keeps others from waiting",
}


def violations(sql: str, *, contract: bool = False) -> list[str]:
    """The statements that a migration may not contain, with the reason.

    Parameters:
        sql: all of one migration's.
        contract: whether it may take away what no supported release uses any more.
    """
    statements = [*_statements(sql)]
    made = set(re.findall(r"^CREATE TABLE (\S+)", "\n".join(statements), re.MULTILINE))
    rules = _NEVER if contract else _NEVER | _TAKES_AWAY
    return [
        f"{reason}: {statement}"
        for statement in statements
        if _table(statement) not in made
        for pattern, reason in rules.items()
        if re.search(pattern, statement, re.IGNORECASE)
    ]


def _statements(sql: str) -> Iterator[str]:
    bare = re.sub(r"--[^\n]*", "", sql)
    for statement in bare.split(";"):
        if line := " ".join(statement.split()):
            yield line


def _table(statement: str) -> str:
    """The table that a statement is about, as far as these rules need it."""
    pattern = r"^(?:ALTER TABLE (?:ONLY )?|CREATE .*?INDEX .*? ON |UPDATE |DELETE FROM )(\S+)"
    found = re.match(pattern, statement, re.IGNORECASE)
    return found.group(1) if found else ""
