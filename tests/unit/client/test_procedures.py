"""The client knows every procedure and every field of the service, and both of its faces have the same methods."""

from __future__ import annotations

import inspect
import re

import msgspec
import pytest

from counters_client import CounterClient, SyncCounterClient, records
from counters_client.errors import CounterError, HistoryNotKept, error_for
from counters_client.likes import Likes
from counters_client.sync import SyncLikes
from gateway import errors, protocol
from gateway.procedures import PROCEDURES

METHODS = {"stats.get": "get_stats"}


def snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name)


@pytest.mark.parametrize("name", PROCEDURES)
def test_every_procedure_is_a_method(name) -> None:
    room, _, method = name.partition(".")
    face = Likes if room == "like" else CounterClient
    assert inspect.iscoroutinefunction(getattr(face, METHODS.get(name) or snake(method)))


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
        (records.Drift, protocol.Drift),
        (records.Total, protocol.Total),
        (records.CounterSource, protocol.ListedSource),
        (records.AwakeCounter, protocol.AwakeCounter),
        (records.Alarm, protocol.ListedAlarm),
        (records.AlarmRun, protocol.ListedRun),
        (records.Alarms, protocol.Alarms),
        (records.DueItem, protocol.DueItem),
        (records.Liked, protocol.Liked),
        (records.Member, protocol.ListedMember),
        (records.MemberPage, protocol.Members),
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


def test_a_history_that_is_not_kept_has_an_error_of_its_own() -> None:
    assert type(error_for("HISTORY_NOT_KEPT", "")) is HistoryNotKept


def test_who_is_stopped_at_the_door_has_changed_nothing() -> None:
    problem = errors.overloaded()
    assert not error_for(problem.code, problem.message, problem.data, True).uncertain
    assert error_for("UNAVAILABLE", "", None, True).uncertain
    assert not error_for("TOO_MANY_REQUESTS", "", None, True).uncertain


@pytest.mark.parametrize(("one", "other"), [(CounterClient, SyncCounterClient), (Likes, SyncLikes)])
def test_both_faces_have_the_same_methods_with_the_same_arguments(one, other) -> None:
    def public(kind: type) -> dict[str, inspect.Signature]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: inspect.signature(each) for name, each in found if not name.startswith("_")}

    ours, sync = public(one), public(other)
    sync.pop("wait_for", None)
    assert ours.keys() == sync.keys()
    for name, signature in ours.items():
        assert list(signature.parameters.values())[1:] == list(sync[name].parameters.values())[1:], name
