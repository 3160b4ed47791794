"""Counters reset themselves: when they were used last, and when somebody has to look. Notes to agree on."""

from alembic import op
from sqlalchemy import BigInteger, Column, Text, text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for column in ("idle_since", "due_at", "tick_at"):
        op.add_column("counter", Column(column, BigInteger))
    for index, column in (("counter_due", "due_at"), ("counter_tick", "tick_at")):
        there = text(f"{column} IS NOT NULL")
        op.create_index(index, "counter", [column], sqlite_where=there, postgresql_where=there)
    op.create_table("note", Column("name", Text, primary_key=True), Column("value", Text, nullable=False))
