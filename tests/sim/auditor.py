"""The auditor: knows what was asked, what was answered and what became durable, and nothing of how.

It watches the database from underneath and the clients from above. Its rules of a counter are its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from actors.clock import iso
from actors.messages import Status
from storage.memory import MemoryStore
from storage.records import Commit, OperationRecord
from tests.support.loop import JumpingLoop
from tests.support.stream import Truth

LIMITS = {
    "free": (0, None, "clamp"),
    "tight": (0, 6, "reject"),
    "capped": (0, 6, "clamp"),
    "mortal": (0, None, "clamp"),
    "liked": (0, None, "clamp"),
}
MORTAL = ("mortal", "liked")  # Those that are deleted now and then.
POLICIES: dict[str, dict[str, Any]] = {
    "tight": {"maximum": 6, "on_limit": "reject"},
    "capped": {"maximum": 6},
}
LARGEST = 2**53 - 1


def outcome(name: str, type: str, amount: int, value: int) -> int | None:
    """The value after an operation; None: it is refused."""
    low, high, on_limit = LIMITS[name]
    wanted = {"increment": value + amount, "decrement": value - amount, "reset": 0}.get(type, amount)
    if wanted < low or (high is not None and wanted > high):
        if on_limit == "reject":
            return None
        return low if wanted < low else high
    return wanted if abs(wanted) <= LARGEST else None


@dataclass
class Asked:
    """One operation of one client, however often it was sent."""

    name: str
    type: str
    amount: int
    id: str
    asked_at: float
    member: str | None = None  # Whose like it is.
    answers: list[tuple[float, int, bytes]] = field(default_factory=list)

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.answers[0][2])
        return body


@dataclass
class Committed:
    """One row that became durable."""

    at: float
    name: str
    row: OperationRecord


class Journal(MemoryStore):
    """The database, with a witness: every row that becomes durable is written down with the time."""

    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self.rows: list[Committed] = []
        self.values: dict[str, list[tuple[float, int]]] = {}  # What each counter was worth, and since when.
        self.truths: dict[str, Truth] = {}
        self._births: dict[int, int] = {}
        self._loop = loop

    def commit(self, commit: Commit) -> frozenset[int]:
        names = {write.id: self._names.get(write.id) for write in (*commit.counters, *commit.deadlines)}
        fenced = super().commit(commit)
        now = self._loop.time()
        created = {row.id: row.created_at for row in self._counters.values()}
        for row in commit.operations:
            name = names.get(row.counter_id)
            if row.counter_id in fenced or name is None:
                continue
            self.rows.append(Committed(now, name, row))
            self.values.setdefault(name, [(0.0, 0)]).append((now, row.value))
            self.truth(name).add(self._event(name, row, created.get(row.counter_id)))
        return fenced

    def truth(self, name: str) -> Truth:
        return self.truths.setdefault(name, Truth())

    def _event(self, name: str, row: OperationRecord, created_at: int | None) -> dict[str, Any]:
        deleted = row.type == "delete"
        born = self._births.setdefault(row.counter_id, row.at if created_at is None else created_at)
        event: dict[str, Any] = {
            "type": "reset" if deleted else row.type,
            "value": row.value,
            "previousValue": row.previous_value,
            "metadata": {
                "id": row.counter_id,
                "name": name,
                "value": row.value,
                "createdAt": iso(born),
                "updatedAt": iso(row.at),
                "operationCount": row.seq,
            },
            "timestamp": iso(row.at),
        }
        if deleted:
            event["reason"] = "deleted"
        elif row.reason or row.type == "reset":
            event["reason"] = row.reason or "manual"
        if row.type != "reset" and (row.reason or "").startswith("like."):
            event["member"] = row.actor
        return event

    def members(self, id: int) -> set[str]:
        """Who likes the counter with this id."""
        return {member for counter, member in self._members if counter == id}

    def close(self) -> None:
        """A host that goes leaves the database as it is."""


class Auditor:
    """Judges a run when everything has come to rest."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.asked: dict[str, Asked] = {}
        self.reads: list[tuple[str, float, float, int]] = []  # Name, asked at, answered at, value.
        self.calm_since = float("inf")
        self.complaints: list[str] = []

    def complain(self, text: str) -> None:
        self.complaints.append(text)

    def judge(self) -> None:
        """Everything that can be said about operations and their results."""
        applied: dict[str, list[OperationRecord]] = {}
        for each in self.journal.rows:
            self._row(each, applied)
        for asked in self.asked.values():
            self._answers(asked, applied.get(asked.id, []))
        self._order(applied)
        self._history()
        self._reads()

    def _row(self, each: Committed, applied: dict[str, list[OperationRecord]]) -> None:
        row = each.row
        asked = self.asked.get(row.operation_id)
        if asked is None:
            self.complain(f"nobody has asked for {row}")
            return
        before = applied.setdefault(row.operation_id, [])
        if before:
            self.complain(f"applied twice: {row} and {before}")
        before.append(row)
        if asked.member is None:
            kind = "setValue" if asked.type == "sync" else asked.type
            right = (row.type, row.amount) == (kind, asked.amount)
        else:
            kinds = {"like.add": ("increment",), "like.remove": ("decrement",)}
            right = (row.reason, row.actor, row.amount) == (asked.type, asked.member, 1)
            right = right and row.type in kinds.get(asked.type, ("increment", "decrement"))
        if each.name != asked.name or not right:
            self.complain(f"{row} is not what was asked: {asked}")

    def _answers(self, asked: Asked, rows: list[OperationRecord]) -> None:
        final = [answer for answer in asked.answers if answer[1] != Status.UNAVAILABLE]
        if asked.asked_at > self.calm_since and not final:
            self.complain(f"nobody answered, and the weather was fine: {asked}")
        if any(status == Status.MOVED for _, status, _ in asked.answers):
            self.complain(f"told that it moved: {asked}")
        if (
            len({body for _, status, body in final if status == Status.OK}) > 1
            and asked.name not in MORTAL
            and asked.type != "sync"
        ):
            self.complain(f"answered in two ways: {asked}")  # When a life has begun is not remembered after it.
        for at, status, body in final:
            if status == Status.REFUSED:
                self._refusal(asked, rows, at, body)
            elif asked.type != "create":
                self._result(asked, rows, json.loads(body))

    def _result(self, asked: Asked, rows: list[OperationRecord], body: dict[str, Any]) -> None:
        """What was acknowledged has happened, and just so."""
        if asked.type == "delete":
            right = bool(rows) and body == {"success": True, "name": asked.name}
        elif asked.type == "sync":
            # One that finds the value as it should be leaves no trace, and is not remembered.
            told = body["oldCount"], body["newCount"]
            right = told[0] == told[1] or any(told == (row.previous_value, row.value) for row in rows)
        elif asked.member is not None:
            metadata = body["metadata"]
            said = (body["newCount"], body["isLiked"], metadata["id"], metadata["operationCount"])
            right = any(said == (row.value, row.type == "increment", *place(row)) for row in rows) or (
                # It was so already. That leaves no trace, and when it comes again it may not be so any more.
                asked.type != "like.toggle" and body["isLiked"] == (asked.type == "like.add")
            )
        else:
            said = (body["value"], body["previousValue"], body["metadata"]["operationCount"], body["metadata"]["id"])
            right = any(said == (row.value, row.previous_value, row.seq, row.counter_id) for row in rows)
            seq = body["metadata"]["operationCount"]
            right = right and [item["id"] for item in body["latestHistory"]] == list(range(seq, max(0, seq - 5), -1))
        if not right:
            self.complain(f"acknowledged and not so: {asked}: {rows}")

    def _refusal(self, asked: Asked, rows: list[OperationRecord], at: float, body: bytes) -> None:
        """Who was refused was not served, and at some moment while it waited that was right."""
        if rows and len(asked.answers) == 1:  # A refusal is not remembered: a second try may be served.
            self.complain(f"refused and applied: {asked} {rows}")
        code = json.loads(body)["code"]
        values = self.values_between(asked.name, asked.asked_at, at)
        if code == "LIMIT_REACHED":
            if all(outcome(asked.name, asked.type, asked.amount, value) is not None for value in values):
                self.complain(f"refused without reason: {asked}; it was worth {values}")
        elif code != "COUNTER_NOT_FOUND" or asked.type != "delete":
            self.complain(f"{code}: {asked}")

    def values_between(self, name: str, start: float, end: float) -> list[int]:
        """What a counter was worth at the moments between two times."""
        steps = self.journal.values.get(name, [(0.0, 0)])
        before = [value for at, value in steps if at <= start]
        return before[-1:] + [value for at, value in steps if start < at <= end]

    def _order(self, applied: dict[str, list[OperationRecord]]) -> None:
        """What was answered before something else was asked stands before it."""
        done = [
            (min(told), asked, applied[asked.id][0])
            for asked in self.asked.values()
            if asked.id in applied and (told := [*self._told(asked, applied[asked.id][0])])
        ]
        for at, asked, row in done:
            for _, later, other in done:
                if later.name == asked.name and later.asked_at > at and place(other) <= place(row):
                    self.complain(f"{other} was asked for after {row} was answered")

    def _told(self, asked: Asked, row: OperationRecord) -> Iterator[float]:
        """When it was answered with what is in the row."""
        for at, status, body in asked.answers:
            if status == Status.OK:
                # A like that was there already may have been told so, and have been applied when it came again.
                metadata = {} if asked.member is None else json.loads(body)["metadata"]
                if not metadata or (metadata["id"], metadata["operationCount"]) == place(row):
                    yield at

    def _history(self) -> None:
        """Each life of each counter: seq without gaps, every value follows from the one before."""
        lives: dict[tuple[str, int], list[OperationRecord]] = {}
        for each in self.journal.rows:
            lives.setdefault((each.name, each.row.counter_id), []).append(each.row)
        for (name, id), rows in lives.items():
            value = 0
            likes: set[str | None] = set()
            for seq, row in enumerate(rows, 1):
                if name == "liked":
                    self._membership(row, likes)
                expected = 0 if row.type == "delete" else outcome(name, row.type, row.amount, value)
                if (row.seq, row.previous_value, row.value) != (seq, value, expected):
                    self.complain(f"{row} does not follow {value} at {seq - 1}")
                value = row.value
            if name == "liked" and self.journal.members(id) != (set() if rows[-1].type == "delete" else likes):
                self.complain(f"{name} is liked by {self.journal.members(id)}, and should be by {likes}")
            kept = self.journal.since(id, 0, 10_000)
            if rows[-1].type != "delete":
                state = self.journal.read([name]).get(name)
                if kept != rows or state is None or (state.id, state.value, state.seq) != (id, value, len(rows)):
                    self.complain(f"{name} is stored as {state} with {len(kept)} rows, and should be {value}")

    def _membership(self, row: OperationRecord, likes: set[str | None]) -> None:
        """Each member counts once, and only who is one can go."""
        if row.type == "increment":
            if row.actor in likes:
                self.complain(f"{row}: who likes it likes it again")
            likes.add(row.actor)
        elif row.type == "decrement":
            if row.actor not in likes:
                self.complain(f"{row}: who does not like it takes it back")
            likes.discard(row.actor)
        else:
            likes.clear()

    def _reads(self) -> None:
        for name, _, end, value in self.reads:
            if value not in self.values_between(name, 0.0, end):
                self.complain(f"{name} was read as {value}, which it never was")


def place(row: OperationRecord) -> tuple[int, int]:
    return row.counter_id, row.seq
