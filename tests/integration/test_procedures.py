"""Every procedure, over HTTP, on a running service."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.service_clients import clients_on_every_gateway
from tests.support.service_process import Service

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
VALUE_MAX = 2**53 - 1

Call = Callable[..., Any]


@pytest.fixture
def call(http: httpx.Client) -> Call:
    """Calls a procedure; the output, or for an error its status and code."""

    def call(procedure: str, /, key: str | None = None, **input: Any) -> Any:
        headers = {} if key is None else {"idempotency-key": key}
        answer = http.post(f"/rpc/counter.{procedure}", json=input, headers=headers)
        assert answer.headers["content-type"] == "application/json"
        if answer.status_code == 200:
            return answer.json()
        return answer.status_code, answer.json()["error"]["code"]

    return call


def test_increment_and_decrement(call: Call, counter: str) -> None:
    assert call("increment", name=counter)["value"] == 1
    assert call("increment", name=counter, amount=41)["value"] == 42
    assert call("decrement", name=counter)["value"] == 41
    assert call("decrement", name=counter, amount=40)["value"] == 1
    assert call("getValue", name=counter) == {"name": counter, "value": 1}


def test_a_counter_does_not_go_below_zero(call: Call, counter: str) -> None:
    call("increment", name=counter, amount=3)
    result = call("decrement", name=counter, amount=5)
    assert (result["value"], result["previousValue"]) == (0, 3)


def test_an_enriched_result_says_everything(call: Call, counter: str) -> None:
    for amount in range(1, 7):
        result = call("increment", name=counter, amount=amount)
    metadata, history = result.pop("metadata"), result.pop("latestHistory")
    assert TIMESTAMP.fullmatch(result.pop("timestamp"))
    assert result == {"name": counter, "value": 21, "previousValue": 15}
    assert TIMESTAMP.fullmatch(metadata.pop("createdAt"))
    assert TIMESTAMP.fullmatch(metadata.pop("updatedAt"))
    assert isinstance(metadata.pop("id"), int)
    assert metadata == {"name": counter, "value": 21, "operationCount": 6}
    assert [each["operation"] for each in history] == [f"increment({amount})" for amount in (6, 5, 4, 3, 2)]
    assert [(each["id"], each["previousValue"], each["newValue"]) for each in history[:2]] == [(6, 15, 21), (5, 10, 15)]


def test_set_and_reset(call: Call, counter: str) -> None:
    assert call("setValue", name=counter, value=500)["value"] == 500
    result = call("reset", name=counter)
    assert (result["value"], result["previousValue"], result["latestHistory"][0]["operation"]) == (0, 500, "reset")


def test_what_was_never_written_reads_as_zero(call: Call, counter: str) -> None:
    assert call("getValue", name=counter) == {"name": counter, "value": 0}
    assert call("getValues", names=[counter, f"{counter}-2"]) == {"values": {counter: 0, f"{counter}-2": 0}}
    assert call("getMetadata", name=counter) == (404, "COUNTER_NOT_FOUND")
    assert call("getHistory", name=counter) == (404, "COUNTER_NOT_FOUND")
    assert call("delete", name=counter) == (404, "COUNTER_NOT_FOUND")


def test_many_values_at_once(call: Call, counter: str) -> None:
    names = [f"{counter}:{number}" for number in range(20)]
    for number, name in enumerate(names):
        call("setValue", name=name, value=number)
    asked = [*names, *(f"{counter}.never:{number}" for number in range(980))]
    values = call("getValues", names=asked)["values"]
    assert list(values) == asked
    assert [values[name] for name in names] == list(range(20))
    assert call("getValues", names=[*asked, "one-more"]) == (400, "COUNTER_VALIDATION_ERROR")


def test_history_newest_first_and_page_by_page(call: Call, counter: str) -> None:
    for _ in range(12):
        call("increment", name=counter)
    assert [each["id"] for each in call("getHistory", name=counter)] == list(range(12, 0, -1))
    assert [each["id"] for each in call("getHistory", name=counter, limit=5)] == [12, 11, 10, 9, 8]
    assert [each["id"] for each in call("getHistory", name=counter, limit=5, before=8)] == [7, 6, 5, 4, 3]
    call("increment", name=counter, key=f"{counter}-13")
    newest = call("getHistory", name=counter, limit=1)[0]
    assert TIMESTAMP.fullmatch(newest.pop("timestamp"))
    assert newest == {
        "id": 13, "operation": "increment(1)", "previousValue": 12, "newValue": 13,
        "operationId": f"key:{counter}-13", "subject": None, "source": "http 127.0.0.1", "reason": None,
    }  # fmt: skip


def test_an_operation_is_undone_once_and_the_past_can_be_asked_for(call: Call, counter: str) -> None:
    first = call("increment", name=counter, amount=5)
    call("increment", name=counter, amount=2)
    undone = call("undo", name=counter, seq=1)
    assert (undone["value"], undone["previousValue"], undone["metadata"]["operationCount"]) == (2, 7, 3)
    assert call("undo", name=counter, seq=1) == undone
    newest = call("getHistory", name=counter, limit=1)[0]
    assert (newest["operation"], newest["operationId"], newest["reason"]) == ("decrement(5)", "undo:1", "undo 1")
    assert call("undo", name=counter, seq=9) == (400, "COUNTER_VALIDATION_ERROR")
    assert call("undo", name=f"{counter}-2", seq=1) == (404, "COUNTER_NOT_FOUND")
    now = {"name": counter, "at": undone["timestamp"], "value": 2, "operationCount": 3}
    assert call("getValueAt", name=counter, at=undone["timestamp"]) == now
    assert call("getValueAt", name=counter, at="2020-01-01T00:00:00+01:00")["value"] == 0
    assert call("getValueAt", name=counter, at=first["timestamp"])["value"] in (5, 7, 2)  # It has milliseconds only.
    assert call("getValueAt", name=counter, at="yesterday") == (400, "COUNTER_VALIDATION_ERROR")
    assert call("getValueAt", name=f"{counter}-2", at=undone["timestamp"]) == (404, "COUNTER_NOT_FOUND")


def test_metadata_counts_operations_and_not_repetitions(call: Call, counter: str) -> None:
    for _ in range(3):
        call("increment", name=counter, key=f"{counter}-1")
    call("increment", name=counter)
    metadata = call("getMetadata", name=counter)
    assert (metadata["value"], metadata["operationCount"]) == (2, 2)


def test_listing_by_prefix_and_page(call: Call, counter: str) -> None:
    names = sorted(f"{counter}{suffix}" for suffix in (".a", "-b", ":c", "_d", "Z"))
    for name in names:
        call("create", name=name)
    listed = call("listAll", prefix=counter)
    assert [each["name"] for each in listed["counters"]] == names
    assert listed["count"] == 5
    assert listed["counters"][0].keys() == {"name", "value", "createdAt", "updatedAt", "createdBy", "likes"}
    assert not any(each["likes"] for each in listed["counters"])

    first = call("listAll", prefix=counter, limit=3)
    second = call("listAll", prefix=counter, limit=3, cursor=first["cursor"])
    assert [each["name"] for page in (first, second) for each in page["counters"]] == names
    assert "cursor" not in second

    call("create", name=f"{counter}.likes", policy={"likes": True})
    assert [each["likes"] for each in call("listAll", prefix=f"{counter}.likes")["counters"]] == [True]


def test_a_policy_rejects_or_clamps(call: Call, counter: str) -> None:
    assert call("create", name=counter, policy={"maximum": 10, "initial": 5, "on_limit": "reject"}) == {
        "success": True,
        "name": counter,
    }
    assert call("getValue", name=counter)["value"] == 5
    assert call("increment", name=counter, amount=6) == (409, "LIMIT_REACHED")
    assert call("increment", name=counter, amount=5)["value"] == 10
    configured = call("configure", name=counter, policy={"on_limit": "clamp", "minimum": -2})
    others = {"reset_after": None, "reset_schedule": None, "reset_to": None, "missed": "once"}
    others |= {"history_limit": 100_000, "history_max_age": None, "likes": False}
    assert configured["policy"] == {"minimum": -2, "maximum": 10, "on_limit": "clamp", "initial": 5, **others}
    assert call("increment", name=counter, amount=6)["value"] == 10
    assert call("decrement", name=counter, amount=100)["value"] == -2
    assert call("reset", name=counter)["value"] == 5


def test_creating_what_exists_changes_nothing(call: Call, counter: str) -> None:
    call("increment", name=counter, amount=7)
    assert call("create", name=counter, policy={"initial": 100}) == {"success": True, "name": counter}
    assert call("getValue", name=counter)["value"] == 7
    assert call("reset", name=counter)["value"] == 0


def test_an_impossible_policy_is_refused(call: Call, counter: str) -> None:
    assert call("create", name=counter, policy={"minimum": 5, "maximum": 1}) == (400, "COUNTER_VALIDATION_ERROR")
    assert call("create", name=counter, policy={"initial": -1}) == (400, "COUNTER_VALIDATION_ERROR")
    assert call("getMetadata", name=counter) == (404, "COUNTER_NOT_FOUND")


def test_the_range_of_exact_integers_is_kept(call: Call, counter: str) -> None:
    assert call("setValue", name=counter, value=VALUE_MAX)["value"] == VALUE_MAX
    assert call("increment", name=counter) == (409, "OUT_OF_RANGE")
    assert call("getMetadata", name=counter)["operationCount"] == 1
    assert call("setValue", name=counter, value=VALUE_MAX + 1) == (400, "COUNTER_VALIDATION_ERROR")
    assert call("decrement", name=counter)["value"] == VALUE_MAX - 1


def test_sync_sets_the_truth_and_says_the_drift(call: Call, counter: str) -> None:
    call("increment", name=counter, amount=10)
    assert call("sync", name=counter, actual=7) == {"oldCount": 10, "newCount": 7, "difference": -3}
    assert call("sync", name=counter, actual=7) == {"oldCount": 7, "newCount": 7, "difference": 0}


def test_deleting_begins_a_new_life(call: Call, counter: str) -> None:
    call("increment", name=counter, amount=10)
    first = call("getMetadata", name=counter)["id"]
    assert call("delete", name=counter) == {"success": True, "name": counter}
    assert call("getValue", name=counter)["value"] == 0
    assert call("getMetadata", name=counter) == (404, "COUNTER_NOT_FOUND")
    assert call("increment", name=counter)["value"] == 1
    metadata = call("getMetadata", name=counter)
    assert (metadata["operationCount"], metadata["id"] > first) == (1, True)


# Idempotency-Key


def test_a_repeated_key_is_answered_with_the_first_result(service: Service, counter: str) -> None:
    with clients_on_every_gateway(service) as clients:
        answers = [
            client.post("/rpc/counter.increment", json={"name": counter, "amount": 5}, headers={"idempotency-key": "k"})
            for client in [*clients, *clients]
        ]
        other = clients[0].post("/rpc/counter.increment", json={"name": counter})
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["value"] == 5
    assert other.json()["value"] == 6


def test_the_first_result_is_told_long_after(call: Call, counter: str) -> None:
    first = call("increment", name=counter, key="first")
    for _ in range(20):
        call("increment", name=counter)
    assert call("increment", name=counter, key="first") == first


def test_every_change_can_be_repeated(call: Call, counter: str) -> None:
    changes: list[tuple[str, dict[str, Any]]] = [
        ("create", {"policy": {"maximum": 1_000}}),
        ("increment", {"amount": 30}),
        ("decrement", {"amount": 4}),
        ("setValue", {"value": 100}),
        ("sync", {"actual": 90}),
        ("configure", {"policy": {"minimum": -5}}),
        ("reset", {}),
    ]
    for procedure, input in changes:
        first = call(procedure, name=counter, key=f"k-{procedure}", **input)
        assert call(procedure, name=counter, key=f"k-{procedure}", **input) == first, procedure
    assert call("getMetadata", name=counter)["operationCount"] == 5
    assert call("delete", name=counter, key="k-delete") == call("delete", name=counter, key="k-delete")


def test_a_key_belongs_to_its_counter(call: Call, counter: str) -> None:
    assert call("increment", name=counter, key="k")["value"] == 1
    assert call("increment", name=f"{counter}-other", key="k", amount=7)["value"] == 7


def test_a_key_belongs_to_its_operation(call: Call, counter: str) -> None:
    call("increment", name=counter, key="k")
    assert call("increment", name=counter, key="k", amount=2) == (400, "COUNTER_VALIDATION_ERROR")
    assert call("decrement", name=counter, key="k") == (400, "COUNTER_VALIDATION_ERROR")
    assert call("getValue", name=counter)["value"] == 1


def test_a_refused_operation_may_be_tried_again_with_its_key(call: Call, counter: str) -> None:
    call("create", name=counter, policy={"maximum": 1, "on_limit": "reject"})
    assert call("increment", name=counter, amount=2, key="k") == (409, "LIMIT_REACHED")
    call("configure", name=counter, policy={"maximum": 2})
    assert call("increment", name=counter, amount=2, key="k")["value"] == 2


@pytest.mark.parametrize("key", ["", "k" * 201, "schlüssel", "a\tb"])
def test_a_key_that_is_none_is_refused(http: httpx.Client, counter: str, key: str) -> None:
    answer = http.post(
        "/rpc/counter.increment", json={"name": counter}, headers=[(b"idempotency-key", key.encode("latin-1"))]
    )
    assert (answer.status_code, answer.json()["error"]["data"]["field"]) == (400, "idempotency-key")
    assert http.post("/rpc/counter.getValue", json={"name": counter}).json()["value"] == 0


def test_a_key_sent_by_many_at_once_counts_once(service: Service, http: httpx.Client, counter: str) -> None:
    def send(_: int) -> bytes:
        with httpx.Client(base_url=service.url, timeout=10) as client:
            answer = client.post("/rpc/counter.increment", json={"name": counter}, headers={"idempotency-key": "storm"})
            assert answer.status_code == 200, answer.text
            return answer.content

    with ThreadPoolExecutor(16) as pool:
        answers = set(pool.map(send, range(64)))
    assert len(answers) == 1
    assert http.post("/rpc/counter.getMetadata", json={"name": counter}).json()["operationCount"] == 1


def test_callers_on_both_gateways_get_values_of_their_own(service: Service, counter: str) -> None:
    with clients_on_every_gateway(service) as clients, ThreadPoolExecutor(2) as pool:

        def increment(client: httpx.Client) -> list[int]:
            return [client.post("/rpc/counter.increment", json={"name": counter}).json()["value"] for _ in range(100)]

        first, second = pool.map(increment, clients)
        assert sorted(first + second) == list(range(1, 201))
        for client in clients:
            assert client.post("/rpc/counter.getValue", json={"name": counter}).json()["value"] == 200


# The same procedures as oRPC


def test_orpc_envelopes(http: httpx.Client, counter: str) -> None:
    answer = http.post("/rpc/counter/increment", json={"json": {"name": counter, "amount": 2}})
    assert answer.json()["json"]["value"] == 2
    missing = http.post("/rpc/counter/getMetadata", json={"json": {"name": f"{counter}-none"}})
    assert missing.status_code == 404
    assert missing.json()["json"] | {"message": "", "data": None} == {
        "defined": True,
        "code": "COUNTER_NOT_FOUND",
        "status": 404,
        "message": "",
        "data": None,
    }
