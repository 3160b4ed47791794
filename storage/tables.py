"""The tables, as SQLModel classes. Their shape on disk is decided here and nowhere else."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

# SQLite only numbers a row by itself when the column is called INTEGER.
Key = BigInteger().with_variant(Integer, "sqlite")
# Names and ids are compared by their bytes, as SQLite does, and not by the rules of some language.
Bytewise = Text().with_variant(Text(collation="C"), "postgresql")

DELETED = "type = 'delete'"  # What is left of a counter that is gone.


def _pending(name: str, column: str) -> Index:
    """An index of the rows where `column` is something: a counter without a deadline costs nothing."""
    there = text(f"{column} IS NOT NULL")
    return Index(name, column, sqlite_where=there, postgresql_where=there)


class Counter(SQLModel, table=True):
    """One counter: its committed state and who may write it.

    `epoch` is the number of the present owner, `placed` the version of the placement table by which it became that.
    `idle_since` is the steady time of the last operation. `due_at` (steady) and `tick_at` (wall) are when its owner has
    to be asked whether it resets, for inactivity and by schedule. `due_at` may be too early, never too late.
    """

    __tablename__ = "counter"
    # AUTOINCREMENT never hands out an id twice, so an owner from a deleted counter's life can never match a new one.
    # Half of a page is left free on Postgres: a new version of a row fits beside the old one and no index is touched.
    __table_args__ = (
        _pending("counter_due", "due_at"), _pending("counter_tick", "tick_at"),
        {"sqlite_autoincrement": True, "postgresql_with": {"fillfactor": 50}},
    )  # fmt: skip

    id: int | None = Field(default=None, sa_column=Column(Key, primary_key=True, autoincrement=True))
    name: str = Field(sa_column=Column(Bytewise, nullable=False, unique=True))
    value: int = Field(sa_column=Column(BigInteger, nullable=False))
    operation_count: int = Field(sa_column=Column(BigInteger, nullable=False))
    epoch: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    updated_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    created_by: str | None = Field(default=None, sa_column=Column(Text))
    policy: str | None = Field(default=None, sa_column=Column(Text))
    placed: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))
    idle_since: int | None = Field(default=None, sa_column=Column(BigInteger))
    due_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    tick_at: int | None = Field(default=None, sa_column=Column(BigInteger))


class Operation(SQLModel, table=True):
    """One applied operation; together they are the history, and what repeated operation ids are checked against."""

    __tablename__ = "operation"
    __table_args__ = (
        # operation_id first: the gateways' own ids grow, so every insert lands on the same page of this index,
        # however many counters a batch touches. The other order costs a page per counter (40 % of a commit).
        UniqueConstraint("operation_id", "counter_id"),
        Index("operation_deletion", "at", sqlite_where=text(DELETED), postgresql_where=text(DELETED)),
        {"sqlite_with_rowid": False},
    )

    counter_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    type: str = Field(sa_column=Column(Text, nullable=False))
    amount: int = Field(sa_column=Column(BigInteger, nullable=False))
    value: int = Field(sa_column=Column(BigInteger, nullable=False))
    previous_value: int = Field(sa_column=Column(BigInteger, nullable=False))
    at: int = Field(sa_column=Column(BigInteger, nullable=False))
    operation_id: str = Field(sa_column=Column(Bytewise, nullable=False))
    actor: str | None = Field(default=None, sa_column=Column(Text))
    reason: str | None = Field(default=None, sa_column=Column(Text))
    source: str | None = Field(default=None, sa_column=Column(Text))


class Alarm(SQLModel, table=True):
    """An operation that is to be applied later: once `at` a wall time, or every so many milliseconds.

    `due_at` (steady time) is when the next run of the latter is due; `run` is the number of the next run, `attempt`
    counts failed attempts at it. `key` is different for every alarm there ever was.
    """

    __tablename__ = "alarm"
    __table_args__ = (_pending("alarm_due", "due_at"), _pending("alarm_at", "at"))

    counter_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    id: str = Field(sa_column=Column(Text, primary_key=True))
    key: str = Field(sa_column=Column(Text, nullable=False))
    type: str = Field(sa_column=Column(Text, nullable=False))
    amount: int = Field(sa_column=Column(BigInteger, nullable=False))
    at: int | None = Field(default=None, sa_column=Column(BigInteger))
    every: int | None = Field(default=None, sa_column=Column(BigInteger))
    due_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    run: int = Field(sa_column=Column(BigInteger, nullable=False))
    attempt: int = Field(sa_column=Column(BigInteger, nullable=False))
    error: str | None = Field(default=None, sa_column=Column(Text))


class AlarmRun(SQLModel, table=True):
    """What became of one run of an alarm. The alarm itself may be gone."""

    __tablename__ = "alarm_run"
    __table_args__ = (Index("alarm_run_counter", "counter_id", "at"),)

    key: str = Field(sa_column=Column(Text, primary_key=True))
    run: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    counter_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    id: str = Field(sa_column=Column(Text, nullable=False))
    at: int = Field(sa_column=Column(BigInteger, nullable=False))
    attempts: int = Field(sa_column=Column(BigInteger, nullable=False))
    error: str | None = Field(default=None, sa_column=Column(Text))


class Note(SQLModel, table=True):
    """Something that the processes of a service have to agree on."""

    __tablename__ = "note"

    name: str = Field(sa_column=Column(Text, primary_key=True))
    value: str = Field(sa_column=Column(Text, nullable=False))


class Member(SQLModel, table=True):
    """Somebody who likes a counter, `since` when (wall time). The counter's value is the number of these rows."""

    __tablename__ = "member"
    __table_args__ = ({"sqlite_with_rowid": False},)

    counter_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    member: str = Field(sa_column=Column(Bytewise, primary_key=True))
    since: int = Field(sa_column=Column(BigInteger, nullable=False))
