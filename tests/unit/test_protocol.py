"""What clients may send: everything that is refused says which part is wrong and why."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core import name as names
from actors.core.policy import VALUE_MAX
from actors.messages import Operation, Query
from gateway import orpc
from gateway import protocol as wire
from gateway.errors import OUTSIDE, ROWS, Problem, refused
from gateway.procedures import PROCEDURES, Command
from gateway.protocol import complaint, read_message

LONGEST = "n" * 100
BAD_NAMES = [
    "",
    LONGEST + "n",
    "a/b",
    "a b",
    ".",
    "..",
    "a\\b",
    "a?b",
    "a%20b",
    "a#b",
    "a\n",
    "\na",
    "a\x00",
    "a\x1b[31m",
    "\x7f",
    "é",
    "😀",
    "a\u200b",
    "٣",
    "<b>",
    '"',
    "'",
]
GOOD_NAMES = ["a", "A", "7", "_", "-", ":", "...", ".a", "a.", "post:1:likes", "A-Z_a-z.0-9:", LONGEST]
NO_INTEGERS = [1.5, 1.0, 1e300, True, False, "1", "", [], {}, [1]]
NO_AMOUNTS = [*NO_INTEGERS, None, 0, -1, -VALUE_MAX, VALUE_MAX + 1, 2**53, 2**63, 2**64, 10**4000]
NO_VALUES = [*NO_INTEGERS, None, VALUE_MAX + 1, -VALUE_MAX - 1, 2**64, -(2**64), 10**4000]
NO_JSON = [
    b"",
    b" ",
    b"{",
    b"nonsense",
    b"{'name': 'a'}",
    b'{"name":"a",}',
    b'{"name":"a"} x',
    b'{"name":"a","amount":NaN}',
    b'{"name":"a","amount":Infinity}',
    b'{"name":"a","amount":01}',
    b'{"name":"\xff"}',
    b'{"name":"\\ud800"}',
    b'{"name":"a\nb"}',
    b"\xef\xbb\xbf{}",
    b"\x00",
    b"\xff\xfe{",
]
NO_OBJECTS = [b"null", b"[]", b'"a"', b"1", b"true", b"[" * 100_000]

# The least that each procedure takes.
LEAST: dict[str, dict[str, Any]] = {
    "counter.create": {"name": "a"},
    "counter.increment": {"name": "a"},
    "counter.decrement": {"name": "a"},
    "counter.setValue": {"name": "a", "value": 1},
    "counter.reset": {"name": "a"},
    "counter.getValue": {"name": "a"},
    "counter.getValues": {"names": ["a"]},
    "counter.getMetadata": {"name": "a"},
    "counter.getValueAt": {"name": "a", "at": "2025-01-15T12:00:00Z"},
    "counter.undo": {"name": "a", "seq": 1},
    "counter.getHistory": {"name": "a"},
    "counter.getSessions": {"name": "a"},
    "counter.listAll": {},
    "counter.configure": {"name": "a", "policy": {}},
    "counter.setAlarm": {"name": "a", "operation": {"type": "increment"}},
    "counter.cancelAlarm": {"name": "a", "id": "b"},
    "counter.listAlarms": {"name": "a"},
    "counter.listDue": {},
    "counter.sync": {"name": "a"},
    "counter.drift": {"name": "a"},
    "counter.delete": {"name": "a"},
    "like.toggle": {"name": "a", "member": "b"},
    "like.add": {"name": "a", "member": "b"},
    "like.remove": {"name": "a", "member": "b"},
    "like.isLiked": {"name": "a", "member": "b"},
    "like.getCount": {"name": "a"},
    "like.getCounts": {"names": ["a"]},
    "like.getStatuses": {"names": ["a"], "member": "b"},
    "like.members": {"name": "a"},
    "stats.get": {"names": ["a"]},
    "stats.listSources": {},
    "admin.ps": {},
    "admin.scale": {"hosts": 2},
    "admin.restartHosts": {},
}
NAMED = [procedure for procedure, least in LEAST.items() if "name" in least]


def build(procedure: str, content: Any) -> Operation | Query | Command:
    """What a request with this content becomes. Raises Problem."""
    row = PROCEDURES[procedure if "." in procedure else f"counter.{procedure}"]
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    try:
        return row.build(row.decode(body), "id")
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise complaint(error) from error


def wrong(procedure: str, content: Any) -> str:
    """The field that a request is refused for."""
    with pytest.raises(Problem) as caught:
        build(procedure, content)
    return blamed(caught.value)


def blamed(problem: Problem) -> str:
    assert problem.code == "COUNTER_VALIDATION_ERROR"
    assert problem.row.status == 400
    assert set(problem.data) == {"field", "reason"}
    assert problem.data["reason"]
    assert problem.message == f"{problem.data['field']}: {problem.data['reason']}"
    assert json.loads(problem.plain())["error"]["data"] == problem.data
    field = problem.data["field"]
    assert isinstance(field, str)
    return field


class TestEveryProcedure:
    def test_all_of_them_are_here(self) -> None:
        assert PROCEDURES.keys() == LEAST.keys()

    @pytest.mark.parametrize("procedure", LEAST)
    def test_takes_the_least(self, procedure: str) -> None:
        message = build(procedure, LEAST[procedure])
        if isinstance(message, Command):
            assert PROCEDURES[procedure].local == (message.kind not in ("sync", "drift", "sources"))
        else:
            assert isinstance(message, Operation) == PROCEDURES[procedure].changes

    @pytest.mark.parametrize("procedure", LEAST)
    def test_misses_what_is_missing(self, procedure: str) -> None:
        least = LEAST[procedure]
        for field in least:
            assert wrong(procedure, {k: v for k, v in least.items() if k != field}) == field

    @pytest.mark.parametrize("procedure", LEAST)
    def test_ignores_nothing_that_it_does_not_know(self, procedure: str) -> None:
        assert wrong(procedure, LEAST[procedure] | {"amuont": 1}) == "amuont"

    @pytest.mark.parametrize("procedure", LEAST)
    @pytest.mark.parametrize("body", NO_OBJECTS, ids=lambda body: repr(body[:24]))
    def test_refuses_what_is_no_object(self, procedure: str, body: bytes) -> None:
        assert wrong(procedure, body) == "body"

    @pytest.mark.parametrize("body", NO_JSON, ids=repr)
    def test_refuses_what_is_no_json(self, body: bytes) -> None:
        assert wrong("increment", body) == "body"

    @pytest.mark.parametrize("procedure", NAMED)
    @pytest.mark.parametrize("name", [*BAD_NAMES, None, 7, True, ["a"], {"a": 1}], ids=repr)
    def test_refuses_a_bad_name(self, procedure: str, name: Any) -> None:
        assert wrong(procedure, LEAST[procedure] | {"name": name}) == "name"

    @pytest.mark.parametrize("procedure", NAMED)
    @pytest.mark.parametrize("name", GOOD_NAMES)
    def test_takes_a_good_name(self, procedure: str, name: str) -> None:
        message = build(procedure, LEAST[procedure] | {"name": name})
        assert name == (message.names[0] if isinstance(message, Query) else message.name)

    @pytest.mark.parametrize("procedure", ["like.toggle", "like.isLiked", "like.getStatuses"])
    def test_members_are_printable_and_not_too_long(self, procedure: str) -> None:
        for member in ("a", " ", "a" * 256, "😀" * 256, "Ada <b>&amp;</b>", 'a"\\', "👨‍👩‍👧", "é"):
            message = build(procedure, LEAST[procedure] | {"member": member})
            assert member == (message.member if isinstance(message, Operation) else message.text)  # type: ignore[union-attr]
        for member in ("", "a" * 257, "a" * 10_000, "a\0", "a\nb", "a\n", "\x7f", "\x85", "\u2028", 7, None, ["a"]):
            assert wrong(procedure, LEAST[procedure] | {"member": member}) == "member"

    def test_half_a_character_is_no_member(self) -> None:
        assert wrong("like.toggle", rb'{"name": "a", "member": "\ud800"}') == "body"

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["name", "amount", "policy"]), inner)
            ),
        )
    )
    def test_survives_whatever_json_can_say(self, content: Any) -> None:
        for procedure in PROCEDURES:
            try:
                build(procedure, json.dumps(content).encode())
            except Problem as problem:
                blamed(problem)

    @given(st.binary(max_size=60))
    def test_survives_any_bytes(self, body: bytes) -> None:
        for procedure in PROCEDURES.values():
            try:
                decoded = procedure.decode(body)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                assert complaint(error).code == "COUNTER_VALIDATION_ERROR"
            else:  # Now and then they are an input after all.
                assert isinstance(decoded, msgspec.Struct)


class TestNames:
    @given(st.text(max_size=120))
    def test_the_pattern_and_the_list_of_characters_say_the_same(self, name: str) -> None:
        allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.:")
        expected = 1 <= len(name) <= 100 and set(name) <= allowed and name not in (".", "..")
        assert names.valid(name) == expected

    @pytest.mark.parametrize("name", GOOD_NAMES)
    def test_a_good_name_needs_no_escape(self, name: str) -> None:
        assert names.valid(name)
        assert json.dumps(name) == f'"{name}"'

    @pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
    def test_a_bad_name(self, name: str) -> None:
        assert not names.valid(name)


class TestIncrementAndDecrement:
    @pytest.mark.parametrize("procedure", ["increment", "decrement"])
    @pytest.mark.parametrize("amount", NO_AMOUNTS, ids=lambda amount: repr(amount)[:24])
    def test_refuses_a_bad_amount(self, procedure: str, amount: Any) -> None:
        body = json.dumps({"name": "a", "amount": amount}).encode() if amount != 10**4000 else huge("amount")
        assert wrong(procedure, body) == "amount"

    @pytest.mark.parametrize("procedure", ["increment", "decrement"])
    @pytest.mark.parametrize("amount", [1, 2, VALUE_MAX])
    def test_takes_a_good_amount(self, procedure: str, amount: int) -> None:
        assert build(procedure, {"name": "a", "amount": amount}) == Operation(0, "a", procedure, amount, "id")

    def test_one_is_enough(self) -> None:
        assert build("increment", {"name": "a"}) == Operation(0, "a", "increment", 1, "id")


def huge(field: str) -> bytes:
    """More digits than Python turns into an integer without being asked to."""
    return b'{"name":"a","%b":1%b}' % (field.encode(), b"0" * 4999)


class TestValues:
    @pytest.mark.parametrize(("procedure", "field"), [("setValue", "value"), ("sync", "actual")])
    @pytest.mark.parametrize("value", NO_VALUES, ids=lambda value: repr(value)[:24])
    def test_refuses_a_bad_value(self, procedure: str, field: str, value: Any) -> None:
        body = json.dumps({"name": "a", field: value}).encode() if value != 10**4000 else huge(field)
        assert wrong(procedure, body) == field

    @pytest.mark.parametrize(("procedure", "field"), [("setValue", "value"), ("sync", "actual")])
    @pytest.mark.parametrize("value", [0, 1, -1, VALUE_MAX, -VALUE_MAX])
    def test_takes_a_good_value(self, procedure: str, field: str, value: int) -> None:
        assert build(procedure, {"name": "a", field: value}) == Operation(0, "a", procedure, value, "id")


class TestPolicies:
    @pytest.mark.parametrize("procedure", ["create", "configure"])
    @pytest.mark.parametrize(
        ("policy", "field"),
        [
            *(({field: value}, field) for field in ("minimum", "initial") for value in (None, 1.5, "1", True, 2**53)),
            *(({"maximum": value}, "maximum") for value in (1.5, "1", True, 2**53, -(2**53))),
            *(({"on_limit": value}, "on_limit") for value in ("wrap", "", None, 1, "Clamp")),
            ({"reset_aftr": 1}, "reset_aftr"),
        ],
    )
    def test_refuses_a_bad_part(self, procedure: str, policy: dict[str, Any], field: str) -> None:
        assert wrong(procedure, {"name": "a", "policy": policy}) == f"policy.{field}"

    @pytest.mark.parametrize("policy", [[], "clamp", 1, True])
    def test_refuses_what_is_no_policy(self, policy: Any) -> None:
        assert wrong("configure", {"name": "a", "policy": policy}) == "policy"
        assert wrong("create", {"name": "a", "policy": policy}) == "policy"

    @pytest.mark.parametrize(
        "policy", [{}, {"maximum": None}, {"minimum": -5, "maximum": 5, "on_limit": "reject", "initial": 0}]
    )
    def test_passes_on_what_was_said_and_nothing_else(self, policy: dict[str, Any]) -> None:
        message = build("configure", {"name": "a", "policy": policy})
        assert isinstance(message, Operation)
        assert message.policy == policy

    def test_a_counter_can_be_made_without_one(self) -> None:
        assert build("create", {"name": "a"}) == build("create", {"name": "a", "policy": None})
        assert build("create", {"name": "a"}) == Operation(0, "a", "create", 0, "id")


class TestQuestions:
    @pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
    def test_one_bad_name_among_many_is_pointed_at(self, name: str) -> None:
        assert wrong("getValues", {"names": ["a", "b", name]}) == "names[2]"

    @pytest.mark.parametrize("names", [None, "a", {}, 1, ["a"] * 1_001])
    def test_refuses_what_is_no_list_of_names(self, names: Any) -> None:
        assert wrong("getValues", {"names": names}) == "names"

    def test_takes_a_thousand_names(self) -> None:
        many = [f"{number:0100}" for number in range(1_000)]
        assert build("getValues", {"names": many}) == Query(0, "values", many)

    @pytest.mark.parametrize(
        ("content", "field"),
        [
            *(({"limit": limit}, "limit") for limit in (0, 101, -1, 1.5, "5", None, True)),
            *(({"before": before}, "before") for before in (0, -1, 1.5, "5", 2**53, True)),
        ],
    )
    def test_refuses_a_bad_page_of_history(self, content: dict[str, Any], field: str) -> None:
        assert wrong("getHistory", {"name": "a"} | content) == field

    def test_takes_a_good_page_of_history(self) -> None:
        assert build("getHistory", {"name": "a"}) == Query(0, "history", ["a"], 50, None)
        assert build("getHistory", {"name": "a", "limit": 100, "before": 1}) == Query(0, "history", ["a"], 100, 1)

    @pytest.mark.parametrize(
        ("content", "field"),
        [
            *(({"limit": limit}, "limit") for limit in (0, 1_001, -1, 1.5, "5", None)),
            *(({"prefix": prefix}, "prefix") for prefix in ("a%", "a/b", "é", "a\n", "n" * 101, None, 1)),
            *(({"cursor": cursor}, "cursor") for cursor in ("", "a b", "a\n", "n" * 101, 1)),
        ],
    )
    def test_refuses_a_bad_page(self, content: dict[str, Any], field: str) -> None:
        assert wrong("listAll", content) == field

    def test_takes_a_good_page(self) -> None:
        assert build("listAll", {}) == Query(0, "page", [""], 100)
        page = build("listAll", {"prefix": "post:", "limit": 1_000, "cursor": "post:1"})
        assert page == Query(0, "page", ["post:"], 1_000, text="post:1")


class TestMessages:
    """What a WebSocket client may say."""

    @pytest.mark.parametrize(
        ("message", "expected"),
        [
            ({"type": "ping"}, wire.Ping()),
            ({"type": "increment"}, wire.IncrementMessage(1, None)),
            ({"type": "increment", "amount": 5, "id": "c1"}, wire.IncrementMessage(5, "c1")),
            ({"type": "decrement", "amount": VALUE_MAX}, wire.DecrementMessage(VALUE_MAX)),
            ({"type": "setValue", "value": -VALUE_MAX}, wire.SetValueMessage(-VALUE_MAX)),
            ({"type": "reset", "id": "é😀"}, wire.ResetMessage("é😀")),
            ({"type": "filter", "events": ["increment", "reset"]}, wire.Filter(["increment", "reset"])),
            ({"type": "filter", "events": []}, wire.Filter([])),
            ({"type": "filter", "events": None}, wire.Filter(None)),
        ],
    )
    def test_takes_what_is_right(self, message: dict[str, Any], expected: Any) -> None:
        assert read_message(json.dumps(message).encode()) == expected

    @pytest.mark.parametrize(
        ("message", "field"),
        [
            ({}, "type"),
            ({"type": "incremet"}, "type"),
            ({"type": None}, "type"),
            ({"type": 1}, "type"),
            ({"type": ["increment"]}, "type"),
            *(({"type": "increment", "amount": amount}, "amount") for amount in NO_AMOUNTS[:-1]),
            *(({"type": "decrement", "amount": amount}, "amount") for amount in NO_AMOUNTS[:-1]),
            *(({"type": "setValue", "value": value}, "value") for value in NO_VALUES[:-1]),
            ({"type": "setValue"}, "value"),
            ({"type": "setValue", "value": 1, "amount": 1}, "amount"),
            ({"type": "reset", "amount": 1}, "amount"),
            ({"type": "ping", "id": "x"}, "id"),
            *(({"type": "increment", "id": id}, "id") for id in ("", "x" * 201, 1, ["x"])),
            ({"type": "filter"}, "events"),
            ({"type": "filter", "events": "increment"}, "events"),
            ({"type": "filter", "events": ["increment", "snapshot"]}, "events[1]"),
        ],
    )
    def test_says_what_is_wrong(self, message: dict[str, Any], field: str) -> None:
        with pytest.raises(Problem) as caught:
            read_message(json.dumps(message).encode())
        assert blamed(caught.value) == field

    @pytest.mark.parametrize("data", NO_JSON + NO_OBJECTS, ids=lambda data: repr(data[:24]))
    def test_says_when_it_is_no_message_at_all(self, data: bytes) -> None:
        with pytest.raises(Problem) as caught:
            read_message(data.replace(b'"name":"a"', b'"type":"increment"').replace(b'"name"', b'"type"'))
        assert blamed(caught.value) == "body"

    @given(st.binary(max_size=80))
    def test_survives_any_bytes(self, data: bytes) -> None:
        """Now and then they are a message after all."""
        with suppress(Problem):
            assert isinstance(read_message(data), msgspec.Struct)


class TestErrors:
    @pytest.mark.parametrize("code", ROWS)
    def test_every_row_can_be_said_in_three_ways(self, code: str) -> None:
        problem, row = Problem(code), ROWS[code]
        assert json.loads(problem.plain()) == {
            "error": {"code": code, "message": row.message, "data": None, "retryable": row.retryable}
        }
        assert json.loads(problem.orpc()) == {
            "json": {
                "defined": code not in OUTSIDE,
                "code": code,
                "status": row.status,
                "message": row.message,
                "data": None,
            }
        }
        frame = json.loads(problem.frame("c1"))
        assert (frame["type"], frame["code"], frame["id"]) == ("error", code, "c1")
        assert frame.get("retryable", False) == row.retryable
        assert "id" not in json.loads(problem.frame())

    @pytest.mark.parametrize("too_much", [2**53, 10**23, -(10**23)])
    def test_no_number_is_too_large_for_the_link(self, too_much: int) -> None:
        """One that could not be written would take with it what others sent in the same moment."""
        later = LEAST["counter.setAlarm"]
        assert wrong("counter.setAlarm", later | {"every": too_much}) == "every"
        for field in ("reset_after", "history_max_age", "history_limit", "minimum", "initial"):
            for procedure in ("counter.create", "counter.configure"):
                assert wrong(procedure, {"name": "a", "policy": {field: too_much}}) == f"policy.{field}"

    @pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
    def test_a_time_that_utc_has_no_year_for(self, at: str) -> None:
        assert wrong("counter.getValueAt", {"name": "a", "at": at}) == "at"

    @pytest.mark.parametrize(
        ("at", "ms"),
        [
            ("0001-01-01T00:00:00Z", -62_135_596_800_000),
            ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999),
            ("2025-01-15T12:00:00.123Z", 1_736_942_400_123),
        ],
    )
    def test_times_are_milliseconds(self, at: str, ms: int) -> None:
        built = build("counter.getValueAt", {"name": "a", "at": at})
        assert isinstance(built, Query) and built.before == ms

    @pytest.mark.parametrize("meta", ["[[]]", '[[],[0,"value"]]'])
    def test_an_envelope_that_says_nothing(self, meta: str) -> None:
        with pytest.raises(Problem) as caught:
            orpc.unwrap(b'{"json":{"name":"a","value":"1"},"meta":%b}' % meta.encode())
        assert blamed(caught.value) == "meta"

    def test_what_a_host_refused_keeps_its_words(self) -> None:
        body = b'{"code":"LIMIT_REACHED","message":"full","data":{"field":"amount","reason":"full"}}'
        problem = refused(body)
        assert (problem.code, problem.message, problem.data["field"]) == ("LIMIT_REACHED", "full", "amount")

    @pytest.mark.parametrize("procedure", PROCEDURES)
    def test_every_error_of_a_procedure_is_in_the_table(self, procedure: str) -> None:
        assert set(PROCEDURES[procedure].errors) <= ROWS.keys()
