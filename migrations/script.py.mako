"""${message}

Expand first, contract a release later: workers of the release before run on this schema too.
docs/upgrading.md has the rules, and tests/unit/test_migration_rules.py enforces them. A step that
takes something away sets ``contract = True``.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
