"""Counters of likes know who their members are."""

from alembic import op
from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, Text

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "member",
        Column("counter_id", BigInteger, nullable=False, autoincrement=False),
        Column("member", Text().with_variant(Text(collation="C"), "postgresql"), nullable=False),
        Column("since", BigInteger, nullable=False),
        PrimaryKeyConstraint("counter_id", "member"),
        sqlite_with_rowid=False,
    )
