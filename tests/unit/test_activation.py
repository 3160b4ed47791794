"""The bytes that are shown of a counter, and when they change."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import encoding
from actors.activation import Activation, item
from actors.clock import iso
from actors.core.counter import Change
from actors.core.policy import DEFAULT, VALUE_MAX, Policy
from storage.records import CounterRecord, OperationRecord

NAMES = st.text("ABCYZabcyz019_.:-", min_size=1, max_size=100)
VALUES = st.integers(-VALUE_MAX, VALUE_MAX)
COUNTS = st.integers(0, VALUE_MAX)
TIMES = st.integers(0, 253_402_300_799_999)
TYPES = st.sampled_from(["increment", "decrement", "setValue", "reset"])
REASONS = st.sampled_from(["manual", "inactivity", "schedule", "sync", "deleted"])


def ordinary(content: Any) -> bytes:
    """What an encoder makes of it that knows nothing of ours."""
    return json.dumps(content, separators=(",", ":")).encode()


def text_of(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TestEncoding:
    """Byte templates have to give what an ordinary encoder gives for the same content."""

    @given(COUNTS, NAMES, VALUES, TIMES, TIMES, COUNTS)
    def test_metadata(self, id: int, name: str, value: int, created: int, updated: int, seq: int) -> None:
        encoded = encoding.metadata(id, name.encode(), value, iso(created).encode(), iso(updated).encode(), seq)
        assert encoded == ordinary(
            {
                "id": id,
                "name": name,
                "value": value,
                "createdAt": iso(created),
                "updatedAt": iso(updated),
                "operationCount": seq,
            }
        )

    @given(COUNTS, TYPES, VALUES, VALUES, VALUES, TIMES)
    def test_item(self, seq: int, type: str, amount: int, previous: int, value: int, at: int) -> None:
        assert encoding.item(seq, type, amount, previous, value, iso(at).encode()) == ordinary(
            {
                "id": seq,
                "operation": "reset" if type == "reset" else f"{type}({amount})",
                "previousValue": previous,
                "newValue": value,
                "timestamp": iso(at),
            }
        )

    @given(NAMES, VALUES, VALUES, st.lists(st.dictionaries(st.sampled_from("ab"), VALUES), max_size=5), TIMES)
    def test_result(self, name: str, value: int, previous: int, items: list[Any], at: int) -> None:
        metadata = {"id": 1}
        assert encoding.result(
            name.encode(), value, previous, ordinary(metadata), map(ordinary, items), iso(at).encode()
        ) == ordinary(
            {
                "name": name,
                "value": value,
                "previousValue": previous,
                "metadata": metadata,
                "latestHistory": items,
                "timestamp": iso(at),
            }
        )

    @given(TYPES, VALUES, VALUES, TIMES, st.none() | REASONS)
    def test_event(self, type: str, value: int, previous: int, at: int, reason: str | None) -> None:
        content: dict[str, Any] = {
            "type": type,
            "value": value,
            "previousValue": previous,
            "metadata": {"id": 1},
            "timestamp": iso(at),
        }
        if reason is not None:
            content["reason"] = reason
        assert encoding.event(type, value, previous, b'{"id":1}', iso(at).encode(), reason) == ordinary(content)

    @given(VALUES, TIMES)
    def test_snapshot(self, value: int, at: int) -> None:
        assert encoding.snapshot(value, b'{"id":1}', iso(at).encode()) == ordinary(
            {"type": "snapshot", "value": value, "metadata": {"id": 1}, "timestamp": iso(at)}
        )

    @given(VALUES, VALUES)
    def test_synced(self, old: int, new: int) -> None:
        assert encoding.synced(old, new) == ordinary({"oldCount": old, "newCount": new, "difference": new - old})

    @given(TIMES)
    def test_time(self, at: int) -> None:
        assert iso(at) == text_of(at // 1000 * 1000)[:-4] + f"{at % 1000:03}Z"

    @pytest.mark.parametrize(
        ("at", "text"),
        [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_735_689_601_007, "2025-01-01T00:00:01.007Z"),
            (951_782_400_999, "2000-02-29T00:00:00.999Z"),
            (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ],
    )
    def test_times_that_one_can_check_by_eye(self, at: int, text: str) -> None:
        assert iso(at) == text


NEW = CounterRecord(7, "votes", 0, 0, 3, None, None, None, None)
OLD = CounterRecord(7, "votes", 12, 9, 3, 1_000, 2_000, "ann", '{"maximum":20}')
ROWS = [OperationRecord(7, seq, "increment", 1, seq + 3, seq + 2, seq, f"o{seq}", None, None) for seq in range(5, 10)]
AT = iso(3_000).encode()


def applied(activation: Activation, id: str = "x") -> Change:
    change = activation.counter.apply("increment", 1, id, 3_000)
    assert isinstance(change, Change)
    return change


class TestLoading:
    def test_a_new_counter_shows_nothing_and_starts_at_its_initial_value(self) -> None:
        activation = Activation(NEW, ())
        assert (activation.shown, activation.created_at, activation.epoch) == (None, b"", 3)
        assert (activation.counter.value, activation.counter.seq, activation.counter.policy) == (0, 0, DEFAULT)

    def test_an_old_counter_shows_what_was_stored(self) -> None:
        activation = Activation(OLD, ROWS)
        assert activation.shown is not None
        assert (activation.shown.value, activation.shown.seq, activation.shown.at) == (12, 9, iso(2_000).encode())
        assert json.loads(activation.shown.metadata) == {
            "id": 7,
            "name": "votes",
            "value": 12,
            "createdAt": iso(1_000),
            "updatedAt": iso(2_000),
            "operationCount": 9,
        }
        assert activation.counter.policy == Policy(maximum=20)

    def test_a_policy_that_was_stored_in_full(self) -> None:
        policy = Policy(-5, 5, "reject", -1)
        row = OLD._replace(policy=msgspec.json.encode(policy).decode(), value=3)
        assert Activation(row, ()).counter.policy == policy

    def test_the_initial_value_is_only_for_the_beginning(self) -> None:
        row = OLD._replace(policy='{"initial":7}', value=3)
        assert Activation(row, ()).counter.value == 3


class TestRound:
    def test_only_settling_moves_what_readers_are_shown(self) -> None:
        activation = Activation(OLD, ROWS)
        before = activation.shown
        change = applied(activation)
        assert activation.write(3_000) == (7, 3, 13, 10, 3_000, 2_000)
        metadata, _ = activation.encode(change, AT)
        assert activation.shown is before
        activation.settle(metadata, AT)
        assert activation.shown == (13, 10, metadata, AT)
        assert json.loads(metadata)["updatedAt"] == iso(3_000)
        assert json.loads(metadata)["createdAt"] == iso(1_000)

    def test_a_result_holds_the_five_newest_operations_newest_first(self) -> None:
        activation = Activation(OLD, ROWS)
        results = [json.loads(activation.encode(applied(activation, id), AT)[1]) for id in "ab"]
        assert [[each["id"] for each in result["latestHistory"]] for result in results] == [
            [10, 9, 8, 7, 6],
            [11, 10, 9, 8, 7],
        ]
        assert results[0]["latestHistory"][1:] == [json.loads(item(row)) for row in reversed(ROWS[1:])]

    def test_the_first_change_is_the_birth(self) -> None:
        activation = Activation(NEW, ())
        metadata, result = activation.encode(applied(activation), AT)
        assert json.loads(metadata)["createdAt"] == json.loads(metadata)["updatedAt"] == iso(3_000)
        assert len(json.loads(result)["latestHistory"]) == 1

    def test_settling_without_a_change_shows_the_state_as_it_is(self) -> None:
        activation = Activation(OLD, ROWS)
        activation.settle(None, AT)
        assert activation.shown is not None
        assert json.loads(activation.shown.metadata)["operationCount"] == 9
        assert json.loads(activation.shown.metadata)["updatedAt"] == iso(3_000)

    def test_after_settling_storage_is_the_one_that_remembers(self) -> None:
        activation = Activation(OLD, ROWS)
        first = applied(activation)
        assert applied(activation) is first
        activation.settle(None, AT)
        assert applied(activation) is not first
