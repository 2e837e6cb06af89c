"""The tables. Alembic's target: ``migrations/`` must lead to exactly this.

Identifiers use the "C" collation on PostgreSQL, so that they compare and sort by bytes there as
they do in SQLite. JSON that belongs to the caller is kept as text: PostgreSQL's jsonb refuses
``\\u0000`` and reorders keys, and nothing here needs to look inside.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


def as_utc(value: datetime) -> datetime:
    """A point in time as a database's driver gives it, which is UTC if it has no zone."""
    if value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    return value.astimezone(timezone.utc)


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time with microseconds, always UTC; SQLite keeps it without the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        return None if value is None else value.astimezone(timezone.utc)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        return None if value is None else as_utc(value)


Identifier = Text().with_variant(Text(collation="C"), "postgresql")
# SQLite gives automatic row ids to a column of type INTEGER only.
RowId = BigInteger().with_variant(Integer(), "sqlite")

ledger = Table(
    "ledger",
    metadata,
    Column("message_id", Uuid(as_uuid=False), primary_key=True),
    Column("digest", Text, nullable=False),
    Column("outcomes", Text, nullable=False),
    Column("applied_at", UtcDateTime, nullable=False, index=True),
)

sessions = Table(
    "sessions",
    metadata,
    Column("pk", RowId, Identity(always=False), primary_key=True),
    Column("app", Identifier, nullable=False),
    Column("user_id", Identifier, nullable=False),
    Column("session_id", Identifier, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("app", "user_id", "session_id"),
    Index(None, "app", "user_id", "pk"),
    Index(None, "app", "pk"),
)

events = Table(
    "events",
    metadata,
    Column(
        "session_pk",
        BigInteger,
        ForeignKey("sessions.pk", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Identifier, nullable=False),
    Column("timestamp", UtcDateTime, nullable=False),
    Column("size", Integer, nullable=False),
    Column("payload", Text, nullable=False),
    UniqueConstraint("session_pk", "event_id"),
    Index(None, "session_pk", "timestamp"),
)

# A value of SQL NULL exists only inside the transaction that deletes the key; JSON's null is text.
session_state = Table(
    "session_state",
    metadata,
    Column(
        "session_pk",
        BigInteger,
        ForeignKey("sessions.pk", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("key", Identifier, primary_key=True),
    Column("value", Text),
)

user_state = Table(
    "user_state",
    metadata,
    Column("app", Identifier, primary_key=True),
    Column("user_id", Identifier, primary_key=True),
    Column("key", Identifier, primary_key=True),
    Column("value", Text),
)

app_state = Table(
    "app_state",
    metadata,
    Column("app", Identifier, primary_key=True),
    Column("key", Identifier, primary_key=True),
    Column("value", Text),
)

# One row per name ever saved. It outlives its versions, so that numbers are never used again.
artifacts = Table(
    "artifacts",
    metadata,
    Column("pk", RowId, Identity(always=False), primary_key=True),
    Column("app", Identifier, nullable=False),
    Column("user_id", Identifier, nullable=False),
    # Empty for a user's own artifacts: no session can have that id.
    Column("session_id", Identifier, nullable=False),
    Column("name", Identifier, nullable=False),
    Column("last_version", BigInteger, nullable=False),
    UniqueConstraint("app", "user_id", "session_id", "name"),
)

# One row per blob that the index knows; its row lock is what savers and the sweep share.
blobs = Table(
    "blobs",
    metadata,
    Column("sha256", Identifier, primary_key=True),
    Column("size", BigInteger, nullable=False),
)

artifact_versions = Table(
    "artifact_versions",
    metadata,
    Column(
        "artifact_pk",
        BigInteger,
        ForeignKey("artifacts.pk", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("sha256", Identifier, ForeignKey("blobs.sha256"), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("mime_type", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# A failed operation, or a message that could not be read, kept for a person.
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("pk", RowId, Identity(always=False), primary_key=True),
    # The message it came in; a random id for what was not one of our messages.
    Column("message_id", Uuid(as_uuid=False), nullable=False),
    # The operation's place in its message, from 0; -1 for a message as a whole.
    Column("position", Integer, nullable=False),
    # Whose it is, as far as that can be told; empty where it cannot.
    Column("app", Identifier, nullable=False),
    Column("user_id", Identifier, nullable=False),
    Column("session_id", Identifier, nullable=False),
    # The operation's ``op``, or the name of the task.
    Column("operation", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("error", Text, nullable=False),
    # As they came, in JSON; for a message as a whole only.
    Column("headers", Text, nullable=False),
    # The operation's JSON, or the message's bytes: the first of them, if ``size`` is larger.
    Column("body", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("issued_at", UtcDateTime, nullable=False),
    Column("failed_at", UtcDateTime, nullable=False),
    UniqueConstraint("message_id", "position"),
    Index(None, "app", "pk"),
)
