"""The client knows every procedure and every field of the service, and both of its faces have the same methods."""

from __future__ import annotations

import inspect
import re

import msgspec
import pytest

from counters_client import CounterClient, SyncCounterClient, records
from counters_client.errors import CounterError, error_for
from gateway import errors, protocol
from gateway.procedures import PROCEDURES


def snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name)


@pytest.mark.parametrize("name", PROCEDURES)
def test_every_procedure_is_a_method(name) -> None:
    assert inspect.iscoroutinefunction(getattr(CounterClient, snake(name.partition(".")[2])))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (records.Metadata, protocol.Metadata),
        (records.Described, protocol.Described),
        (records.HistoryItem, protocol.HistoryItem),
        (records.FullHistoryItem, protocol.FullHistoryItem),
        (records.ValueAt, protocol.ValueAt),
        (records.Enriched, protocol.Enriched),
        (records.Policy, protocol.PolicyOutput),
        (records.Listed, protocol.Listed),
        (records.Page, protocol.Page),
        (records.SessionInfo, protocol.Attendant),
        (records.Sessions, protocol.Attendance),
        (records.Synced, protocol.Synced),
        (records.AwakeCounter, protocol.AwakeCounter),
        (records.Alarm, protocol.ListedAlarm),
        (records.AlarmRun, protocol.ListedRun),
        (records.Alarms, protocol.Alarms),
        (records.DueItem, protocol.DueItem),
    ],
)
def test_every_field_is_known(ours, theirs) -> None:
    assert {field.encode_name for field in msgspec.structs.fields(ours)} == {
        field.encode_name for field in msgspec.structs.fields(theirs)
    }


def test_every_part_of_a_policy_can_be_set() -> None:
    wanted = {field.encode_name for field in msgspec.structs.fields(protocol.PolicyInput)}
    assert records.PolicyChanges.__annotations__.keys() == wanted


@pytest.mark.parametrize("code", errors.ROWS)
def test_every_error_keeps_its_code_and_whether_to_try_again(code) -> None:
    row = errors.ROWS[code]
    error = error_for(code, row.message, None, row.retryable)
    assert isinstance(error, CounterError)
    assert (error.code, error.retryable) == (code, row.retryable)


def test_who_is_stopped_at_the_door_has_changed_nothing() -> None:
    problem = errors.overloaded()
    assert not error_for(problem.code, problem.message, problem.data, True).uncertain
    assert error_for("UNAVAILABLE", "", None, True).uncertain
    assert not error_for("TOO_MANY_REQUESTS", "", None, True).uncertain


def test_both_faces_have_the_same_methods_with_the_same_arguments() -> None:
    def public(kind: type) -> dict[str, inspect.Signature]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: inspect.signature(each) for name, each in found if not name.startswith("_")}

    ours, sync = public(CounterClient), public(SyncCounterClient)
    del sync["wait_for"]
    assert ours.keys() == sync.keys()
    for name, signature in ours.items():
        assert list(signature.parameters.values())[1:] == list(sync[name].parameters.values())[1:], name
