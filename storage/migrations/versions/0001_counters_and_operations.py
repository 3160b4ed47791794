"""Counters and their operations."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, PrimaryKeyConstraint, Text, UniqueConstraint

revision = "0001"
down_revision = None

KEY = BigInteger().with_variant(Integer, "sqlite")
BYTEWISE = Text().with_variant(Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "counter",
        Column("id", KEY, primary_key=True, autoincrement=True),
        Column("name", BYTEWISE, nullable=False, unique=True),
        Column("value", BigInteger, nullable=False),
        Column("operation_count", BigInteger, nullable=False),
        Column("epoch", BigInteger, nullable=False),
        Column("created_at", BigInteger),
        Column("updated_at", BigInteger),
        Column("created_by", Text),
        Column("policy", Text),
        sqlite_autoincrement=True,
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "operation",
        Column("counter_id", BigInteger, nullable=False, autoincrement=False),
        Column("seq", BigInteger, nullable=False, autoincrement=False),
        Column("type", Text, nullable=False),
        Column("amount", BigInteger, nullable=False),
        Column("value", BigInteger, nullable=False),
        Column("previous_value", BigInteger, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("operation_id", BYTEWISE, nullable=False),
        Column("actor", Text),
        Column("reason", Text),
        PrimaryKeyConstraint("counter_id", "seq"),
        UniqueConstraint("operation_id", "counter_id"),
        sqlite_with_rowid=False,
    )
