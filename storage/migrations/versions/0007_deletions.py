"""Deletions are found by their time."""

from alembic import op
from sqlalchemy import text

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    gone = text("type = 'delete'")
    op.create_index("operation_deletion", "operation", ["at"], sqlite_where=gone, postgresql_where=gone)
