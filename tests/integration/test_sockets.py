"""`/ws/counter/<name>` on a running service, with listeners on every gateway process."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import CloseCode
from websockets.sync.client import connect

from tests.support.service_clients import listening, listening_on_every_gateway, socket_url
from tests.support.service_process import Service

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def post(http: httpx.Client, procedure: str, **input: object) -> dict[str, object]:
    answer = http.post(f"/rpc/counter.{procedure}", json=input)
    assert answer.status_code == 200, answer.text
    output: dict[str, object] = answer.json()
    return output


def test_an_update_reaches_listeners_on_every_gateway(service: Service, http: httpx.Client, counter: str) -> None:
    with listening_on_every_gateway(service, counter) as listeners:
        result = post(http, "increment", name=counter, amount=42)
        for listener in listeners:
            event = listener.hear()
            assert TIMESTAMP.fullmatch(event.pop("timestamp"))
            assert event == {
                "type": "increment",
                "value": 42,
                "previousValue": 0,
                "metadata": result["metadata"],
            }


def test_every_kind_of_event_in_order(service: Service, http: httpx.Client, counter: str) -> None:
    with listening_on_every_gateway(service, counter) as listeners:
        post(http, "increment", name=counter, amount=5)
        post(http, "decrement", name=counter, amount=2)
        post(http, "setValue", name=counter, value=100)
        post(http, "sync", name=counter, actual=50)
        post(http, "reset", name=counter)
        for listener in listeners:
            events = [listener.hear() for _ in range(5)]
            assert [(e["type"], e["value"], e["previousValue"], e.get("reason")) for e in events] == [
                ("increment", 5, 0, None),
                ("decrement", 3, 5, None),
                ("setValue", 100, 3, None),
                ("setValue", 50, 100, "sync"),
                ("reset", 0, 50, "manual"),
            ]
            assert [e["metadata"]["operationCount"] for e in events] == [1, 2, 3, 4, 5]


def test_what_changes_nothing_is_no_event(service: Service, http: httpx.Client, counter: str) -> None:
    with listening(service, counter) as listener:
        post(http, "create", name=counter, policy={"maximum": 1, "on_limit": "reject"})
        post(http, "getValue", name=counter)
        assert http.post("/rpc/counter.increment", json={"name": counter, "amount": 2}).status_code == 409
        assert listener.silent()


def test_listeners_hear_of_their_counter_only(service: Service, http: httpx.Client, counter: str) -> None:
    with listening(service, counter) as listener:
        post(http, "increment", name=f"{counter}-other")
        post(http, "increment", name=counter)
        assert listener.hear()["metadata"]["name"] == counter
        assert listener.silent()


def test_a_deletion_is_told_as_the_last_reset(service: Service, http: httpx.Client, counter: str) -> None:
    post(http, "increment", name=counter, amount=3)
    with listening_on_every_gateway(service, counter) as listeners:
        post(http, "delete", name=counter)
        post(http, "increment", name=counter)
        for listener in listeners:
            last, first = listener.hear(), listener.hear()
            assert (last["type"], last["value"], last["previousValue"], last["reason"]) == ("reset", 0, 3, "deleted")
            assert (first["value"], first["metadata"]["operationCount"]) == (1, 1)


# Pings


def test_pings_are_answered(service: Service, counter: str) -> None:
    with listening(service, counter) as listener:
        pong = listener.ask(type="ping")
        assert pong["type"] == "pong"
        assert TIMESTAMP.fullmatch(pong["timestamp"])
        listener.connection.send("ping")
        assert listener.connection.recv(5) == "pong"
        assert listener.connection.ping().wait(5)


# Filters


def test_filters_from_the_url_and_by_message(service: Service, http: httpx.Client, counter: str) -> None:
    with listening(service, counter, events="reset,decrement") as listener:
        post(http, "increment", name=counter, amount=5)
        post(http, "decrement", name=counter)
        post(http, "reset", name=counter)
        assert [listener.hear()["type"] for _ in range(2)] == ["decrement", "reset"]

        listener.say(type="filter", events=["setValue"])
        assert listener.silent()
        post(http, "increment", name=counter)
        post(http, "setValue", name=counter, value=9)
        assert listener.hear()["type"] == "setValue"

        listener.say(type="filter", events=None)
        assert listener.silent()
        post(http, "increment", name=counter)
        assert listener.hear()["type"] == "increment"


def test_an_empty_filter_lets_nothing_through(service: Service, http: httpx.Client, counter: str) -> None:
    with listening(service, counter) as listener:
        listener.say(type="filter", events=[])
        assert listener.silent()
        post(http, "increment", name=counter)
        assert listener.silent()


# Snapshot and resume


def test_a_snapshot_comes_first_when_asked_for(service: Service, http: httpx.Client, counter: str) -> None:
    post(http, "increment", name=counter, amount=7)
    with listening_on_every_gateway(service, counter, snapshot=1) as listeners:
        for listener in listeners:
            snapshot = listener.hear()
            assert (snapshot["type"], snapshot["value"]) == ("snapshot", 7)
            assert snapshot["metadata"]["operationCount"] == 1
            assert TIMESTAMP.fullmatch(snapshot["timestamp"])
        post(http, "increment", name=counter)
        assert [listener.hear()["value"] for listener in listeners] == [8, 8]


def test_a_snapshot_of_a_counter_never_written(service: Service, counter: str) -> None:
    with listening(service, counter, snapshot=1) as listener:
        snapshot = listener.hear()
        assert (snapshot["type"], snapshot["value"], snapshot["metadata"]["operationCount"]) == ("snapshot", 0, 0)


def test_who_asks_for_nothing_is_sent_nothing(service: Service, http: httpx.Client, counter: str) -> None:
    post(http, "increment", name=counter)
    with listening(service, counter) as listener:
        assert listener.silent()


def test_since_brings_what_was_missed(service: Service, http: httpx.Client, counter: str) -> None:
    for _ in range(10):
        post(http, "increment", name=counter)
    with listening_on_every_gateway(service, counter, since=4) as listeners:
        for listener in listeners:
            events = [listener.hear() for _ in range(6)]
            assert [event["metadata"]["operationCount"] for event in events] == [5, 6, 7, 8, 9, 10]
            assert {event["type"] for event in events} == {"increment"}
        post(http, "increment", name=counter)
        assert [listener.hear()["value"] for listener in listeners] == [11, 11]


def test_since_the_newest_brings_nothing(service: Service, http: httpx.Client, counter: str) -> None:
    post(http, "increment", name=counter)
    with listening(service, counter, since=1) as listener:
        post(http, "increment", name=counter)
        first = listener.hear()
        if first["type"] == "snapshot":  # "You are up to date" may be said as a snapshot of where one stands.
            assert first["metadata"]["operationCount"] == 1
            first = listener.hear()
        assert first["metadata"]["operationCount"] == 2


def test_since_too_long_ago_brings_one_snapshot(service: Service, counter: str) -> None:
    with listening(service, counter, events="reset") as writer:
        for _ in range(3):
            for _ in range(400):
                writer.say(type="increment")
            for _ in range(400):
                assert writer.hear()["type"] == "incrementResult"
    with listening(service, counter, since=1) as listener:
        snapshot = listener.hear()
        assert (snapshot["type"], snapshot["metadata"]["operationCount"]) == ("snapshot", 1_200)
        assert listener.silent()


def test_joining_in_the_middle_of_a_storm_misses_nothing(service: Service, counter: str) -> None:
    """Whoever joins with `since=0` while operations run hears every one of them exactly once."""
    total = 600
    with listening(service, counter, events="reset") as writer:
        for number in range(total // 2):
            writer.say(type="increment", id=str(number))
        writer.answer("0")
        with listening_on_every_gateway(service, counter, since=0) as listeners:
            for number in range(total // 2, total):
                writer.say(type="increment", id=str(number))
            for listener in listeners:
                heard = [listener.hear()["metadata"]["operationCount"] for _ in range(total)]
                assert heard == list(range(1, total + 1))
        writer.answer(str(total - 1))


# Operations


def test_operations_are_answered_with_their_ids(service: Service, counter: str) -> None:
    with listening(service, counter, events="reset") as listener:
        said = [
            listener.ask(type="increment", amount=5, id="a"),
            listener.ask(type="decrement", id="b"),
            listener.ask(type="setValue", value=70, id="c"),
        ]
        assert [(s["type"], s["id"], s["result"]["value"]) for s in said] == [
            ("incrementResult", "a", 5),
            ("decrementResult", "b", 4),
            ("setValueResult", "c", 70),
        ]
        listener.say(type="reset", id="d")
        heard = {message["type"]: message for message in (listener.hear(), listener.hear())}
        assert heard["resetResult"]["result"]["value"] == 0
        assert heard["reset"]["reason"] == "manual"
        assert said[0]["result"].keys() == {
            "name", "value", "previousValue", "metadata", "latestHistory", "timestamp",
        }  # fmt: skip


def test_an_operation_without_an_id_is_answered_without_one(service: Service, counter: str) -> None:
    with listening(service, counter, events="reset") as listener:
        answer = listener.ask(type="increment")
        assert (answer["type"], answer["result"]["value"], "id" in answer) == ("incrementResult", 1, False)


def test_the_sender_is_a_listener_too(service: Service, counter: str) -> None:
    with listening_on_every_gateway(service, counter) as listeners:
        listeners[0].say(type="increment", id="mine")
        assert {listeners[0].hear()["type"], listeners[0].hear()["type"]} == {"incrementResult", "increment"}
        assert listeners[1].hear()["type"] == "increment"


def test_the_same_id_and_key_on_another_connection_is_the_same_operation(service: Service, counter: str) -> None:
    with listening_on_every_gateway(service, counter, key="phone", events="reset") as listeners:
        first, second = (listener.ask(type="increment", amount=3, id="tap-1") for listener in listeners)
        assert first == second
        assert first["result"]["value"] == 3
        assert listeners[1].ask(type="increment", id="tap-2")["result"]["value"] == 4
    with listening(service, counter, key="tablet", events="reset") as other:
        assert other.ask(type="increment", id="tap-1")["result"]["value"] == 5


def test_without_a_key_ids_only_name_answers(service: Service, counter: str) -> None:
    with listening(service, counter, events="reset") as listener:
        assert listener.ask(type="increment", id="x")["result"]["value"] == 1
        assert listener.ask(type="increment", id="x")["result"]["value"] == 2


@pytest.mark.parametrize(("one", "other"), [(("a", "b/c"), ("a/b", "c")), (("key:a", "b"), None)])
def test_different_keys_never_mean_the_same_operation(
    service: Service, http: httpx.Client, counter: str, one: tuple[str, str], other: tuple[str, str] | None
) -> None:
    """However key and id are put together, two senders that chose different keys stay apart; so does HTTP."""
    with listening(service, counter, key=one[0], events="reset") as listener:
        assert listener.ask(type="increment", id=one[1])["result"]["value"] == 1
    if other is None:
        answer = http.post("/rpc/counter.increment", json={"name": counter}, headers={"idempotency-key": "a/b"})
        assert answer.json()["value"] == 2
    else:
        with listening(service, counter, key=other[0], events="reset") as listener:
            assert listener.ask(type="increment", id=other[1])["result"]["value"] == 2


def test_refusals_name_the_message(service: Service, http: httpx.Client, counter: str) -> None:
    post(http, "create", name=counter, policy={"maximum": 1, "on_limit": "reject"})
    with listening(service, counter) as listener:
        error = listener.ask(type="increment", amount=2, id="c9")
        assert (error["type"], error["code"], error["id"]) == ("error", "LIMIT_REACHED", "c9")
        assert error["message"]


def test_operations_in_flight_get_values_of_their_own(service: Service, counter: str) -> None:
    with listening_on_every_gateway(service, counter, events="reset") as listeners:
        for number in range(200):
            for listener in listeners:
                listener.say(type="increment", id=str(number))
        answers = [[listener.hear() for _ in range(200)] for listener in listeners]
    values = [answer["result"]["value"] for each in answers for answer in each]
    assert sorted(values) == list(range(1, 401))
    for each in answers:
        assert [answer["id"] for answer in each] == [str(number) for number in range(200)]


# The handshake


def test_plain_http_is_told_to_upgrade(http: httpx.Client, counter: str) -> None:
    answer = http.get(f"/ws/counter/{counter}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (426, "UPGRADE_REQUIRED")
    assert answer.headers["upgrade"] == "websocket"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("a%20b", "name"),
        ("%ff", "name"),
        ("a/b", "name"),
        ("n" * 101, "name"),
        ("ok?since=-1", "since"),
        ("ok?since=x", "since"),
        ("ok?since=9007199254740992", "since"),
        ("ok?snapshot=yes", "snapshot"),
        ("ok?events=increment,nothing", "events"),
        ("ok?rate=0", "rate"),
        ("ok?rate=nan", "rate"),
        ("ok?rate=1e9", "rate"),
        ("ok?key=", "key"),
        ("ok?key=" + "k" * 201, "key"),
        ("ok?what=1", "what"),
    ],
)
def test_a_bad_wish_is_refused_in_the_handshake(service: Service, path: str, field: str) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"ws://127.0.0.1:{service.port}/ws/counter/{path}"):
        pass
    answer = refused.value.response
    assert answer.status_code == 400
    error = json.loads(answer.body)["error"]
    assert (error["code"], error["data"]["field"]) == ("COUNTER_VALIDATION_ERROR", field)


def test_a_client_that_says_goodbye_is_let_go(service: Service, counter: str) -> None:
    with connect(socket_url(service, counter), compression=None) as connection:
        connection.close(CloseCode.NORMAL_CLOSURE, "bye")
        assert connection.protocol.close_code == CloseCode.NORMAL_CLOSURE


# Slow listeners


def test_a_rate_is_kept_and_the_end_is_told(service: Service, counter: str) -> None:
    """Ten a second at most; every operation is accounted for, and the last value arrives."""
    with listening(service, counter, rate=10) as listener, listening(service, counter, events="reset") as writer:
        for number in range(300):
            writer.say(type="increment", id=str(number))
        events, seen = 0, 0
        while seen < 300:
            event = listener.hear()
            assert event["metadata"]["operationCount"] == seen + event.get("operations", 1)
            assert event["previousValue"] == seen
            seen, events = event["value"], events + 1
    assert events < 100


# Attachments


def test_who_is_connected_and_with_what(service: Service, http: httpx.Client, counter: str) -> None:
    with listening_on_every_gateway(service, counter, attachment='{"nick":"Ada"}', events="reset") as listeners:
        with listening(service, counter) as other:
            answer = other.ask(type="setAttachment", attachment=[1, "two"], id="a")
            assert (answer["type"], answer["id"]) == ("setAttachmentResult", "a")
            seen = post(http, "getSessions", name=counter)
            sessions: Any = seen["sessions"]
            # At least: to have one on every gateway it can take more than one for each.
            assert (seen["name"], seen["count"]) == (counter, len(sessions))
            assert len(sessions) >= len(listeners) + 1
            assert all(TIMESTAMP.fullmatch(each["subscribedAt"]) for each in sessions)
            by_id = {each["id"]: (each["events"], each["attachment"]) for each in sessions}
            assert by_id.pop(answer["result"]["session"]) == (None, [1, "two"])
            assert list(by_id.values()) == [(["reset"], {"nick": "Ada"})] * (len(sessions) - 1)
        assert len(post(http, "getSessions", name=counter, limit=1)["sessions"]) == 1  # type: ignore[arg-type]
    metadata = http.post("/rpc/counter.getMetadata", json={"name": counter})
    assert metadata.status_code == 404, "asking makes no counter"


def test_the_largest_attachment_fits_into_the_url(service: Service, counter: str) -> None:
    with listening(service, counter, attachment='"' + "é" * (8 * 2**10 - 1) + '"') as listener:
        assert listener.silent()
    for attachment in ('"' + "x" * 16 * 2**10 + '"', "{"):
        with pytest.raises(InvalidStatus) as refused, listening(service, counter, attachment=attachment):
            pass
        assert refused.value.response.status_code == 400
        assert json.loads(refused.value.response.body or b"")["error"]["data"]["field"] == "attachment"
