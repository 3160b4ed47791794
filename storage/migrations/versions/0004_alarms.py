"""Operations that are applied later, and what became of them."""

from alembic import op
from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, Text, text

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "alarm",
        Column("counter_id", BigInteger, nullable=False, autoincrement=False),
        Column("id", Text, nullable=False),
        Column("key", Text, nullable=False),
        Column("type", Text, nullable=False),
        Column("amount", BigInteger, nullable=False),
        Column("at", BigInteger),
        Column("every", BigInteger),
        Column("due_at", BigInteger),
        Column("run", BigInteger, nullable=False),
        Column("attempt", BigInteger, nullable=False),
        Column("error", Text),
        PrimaryKeyConstraint("counter_id", "id"),
    )
    for index, column in (("alarm_due", "due_at"), ("alarm_at", "at")):
        there = text(f"{column} IS NOT NULL")
        op.create_index(index, "alarm", [column], sqlite_where=there, postgresql_where=there)
    op.create_table(
        "alarm_run",
        Column("key", Text, nullable=False),
        Column("run", BigInteger, nullable=False, autoincrement=False),
        Column("counter_id", BigInteger, nullable=False),
        Column("id", Text, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("attempts", BigInteger, nullable=False),
        Column("error", Text),
        PrimaryKeyConstraint("key", "run"),
    )
    op.create_index("alarm_run_counter", "alarm_run", ["counter_id", "at"])
