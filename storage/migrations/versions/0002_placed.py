"""Counters know the version of the placement table that they were claimed by."""

from alembic import op
from sqlalchemy import BigInteger, Column

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("counter", Column("placed", BigInteger, nullable=False, server_default="0"))
