"""The first schema: ledger, sessions, state, artifacts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_IDENTIFIER = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "ledger",
        sa.Column("message_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("outcomes", sa.Text(), nullable=False),
        sa.Column("applied_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("message_id", name="pk_ledger"),
    )
    op.create_index("ix_ledger_applied_at", "ledger", ["applied_at"])
    _create_sessions()
    _create_state()
    _create_artifacts()


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("pk", _ROW_ID, sa.Identity(always=False), nullable=False),
        sa.Column("app", _IDENTIFIER, nullable=False),
        sa.Column("user_id", _IDENTIFIER, nullable=False),
        sa.Column("session_id", _IDENTIFIER, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("pk", name="pk_sessions"),
        sa.UniqueConstraint(
            "app", "user_id", "session_id", name="uq_sessions_app_user_id_session_id"
        ),
    )
    op.create_index("ix_sessions_app_user_id_pk", "sessions", ["app", "user_id", "pk"])
    op.create_index("ix_sessions_app_pk", "sessions", ["app", "pk"])
    op.create_table(
        "events",
        sa.Column("session_pk", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", _IDENTIFIER, nullable=False),
        sa.Column("timestamp", _TIME, nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("session_pk", "seq", name="pk_events"),
        sa.UniqueConstraint("session_pk", "event_id", name="uq_events_session_pk_event_id"),
        sa.ForeignKeyConstraint(
            ["session_pk"], ["sessions.pk"], name="fk_events_session_pk", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_events_session_pk_timestamp", "events", ["session_pk", "timestamp"])


def _create_state() -> None:
    op.create_table(
        "session_state",
        sa.Column("session_pk", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", _IDENTIFIER, nullable=False),
        sa.Column("value", sa.Text()),
        sa.PrimaryKeyConstraint("session_pk", "key", name="pk_session_state"),
        sa.ForeignKeyConstraint(
            ["session_pk"], ["sessions.pk"], name="fk_session_state_session_pk", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "user_state",
        sa.Column("app", _IDENTIFIER, nullable=False),
        sa.Column("user_id", _IDENTIFIER, nullable=False),
        sa.Column("key", _IDENTIFIER, nullable=False),
        sa.Column("value", sa.Text()),
        sa.PrimaryKeyConstraint("app", "user_id", "key", name="pk_user_state"),
    )
    op.create_table(
        "app_state",
        sa.Column("app", _IDENTIFIER, nullable=False),
        sa.Column("key", _IDENTIFIER, nullable=False),
        sa.Column("value", sa.Text()),
        sa.PrimaryKeyConstraint("app", "key", name="pk_app_state"),
    )


def _create_artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("pk", _ROW_ID, sa.Identity(always=False), nullable=False),
        sa.Column("app", _IDENTIFIER, nullable=False),
        sa.Column("user_id", _IDENTIFIER, nullable=False),
        sa.Column("session_id", _IDENTIFIER, nullable=False),
        sa.Column("name", _IDENTIFIER, nullable=False),
        sa.Column("last_version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pk", name="pk_artifacts"),
        sa.UniqueConstraint(
            "app",
            "user_id",
            "session_id",
            "name",
            name="uq_artifacts_app_user_id_session_id_name",
        ),
    )
    op.create_table(
        "blobs",
        sa.Column("sha256", _IDENTIFIER, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_blobs"),
    )
    op.create_table(
        "artifact_versions",
        sa.Column("artifact_pk", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sha256", _IDENTIFIER, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mime_type", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("artifact_pk", "version", name="pk_artifact_versions"),
        sa.ForeignKeyConstraint(
            ["artifact_pk"],
            ["artifacts.pk"],
            name="fk_artifact_versions_artifact_pk",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name="fk_artifact_versions_sha256"),
    )
    op.create_index("ix_artifact_versions_sha256", "artifact_versions", ["sha256"])


def downgrade() -> None:
    for table in (
        "artifact_versions",
        "blobs",
        "artifacts",
        "app_state",
        "user_state",
        "session_state",
        "events",
        "sessions",
        "ledger",
    ):
        op.drop_table(table)
