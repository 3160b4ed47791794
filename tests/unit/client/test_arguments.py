"""What the client makes of what it is given; what it cannot send is told before anything is sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import httpx
import pytest

from counters_client import ClientClosed, CounterClient, Invalid, Position, SyncCounterClient
from counters_client.core import wire
from tests.unit.client.messages import AT

URL = "http://127.0.0.1:1"


class Service:
    """Answers every call with the same, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: Any = {}
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(json.loads(request.content))
        return httpx.Response(200, json=self.answer)


@pytest.fixture
def service(monkeypatch) -> Service:
    service = Service()
    transport = httpx.MockTransport(service)
    monkeypatch.setattr(httpx, "AsyncClient", partial(httpx.AsyncClient, transport=transport))
    return service


def run(use: Callable[[CounterClient], Awaitable[Any]]) -> Any:
    async def open_and_use() -> Any:
        async with CounterClient(URL) as client:
            return await use(client)

    return asyncio.run(open_and_use())


def test_a_time_is_sent_in_utc(service) -> None:
    service.answer = {"name": "votes", "at": AT, "value": 3, "operationCount": 4}
    at = datetime(2026, 11, 22, 3, tzinfo=timezone(timedelta(hours=1)))
    assert run(lambda client: client.get_value_at("votes", at)).value == 3
    with SyncCounterClient(URL) as client:
        assert client.get_value_at("votes", at.astimezone(UTC)).value == 3
    assert service.asked == [{"name": "votes", "at": "2026-11-22T02:00:00+00:00"}] * 2


def test_an_interval_is_sent_in_seconds(service) -> None:
    service.answer = {"id": "often", "next": AT}
    run(lambda client: client.set_alarm("votes", {"type": "reset"}, every=timedelta(minutes=5)))
    assert service.asked[0]["every"] == 300


@pytest.mark.parametrize(
    ("field", "use"),
    [
        ("at", lambda client: client.get_value_at("votes", "yesterday")),
        ("at", lambda client: client.get_value_at("votes", datetime.min.replace(tzinfo=timezone(timedelta(hours=1))))),
        ("every", lambda client: client.set_alarm("votes", {"type": "reset"}, every=timedelta(milliseconds=1))),
        ("body", lambda client: client.get_value(object())),
        ("body", lambda client: client.set_value("votes", float("nan"), key="k")),
        ("body", lambda client: client.like.is_liked("pl", "\ud800")),
        *(
            ("key", lambda client, key=key: client.increment("votes", key=key))
            for key in ("", "ключ", "a\nb", " a", "a ", "k" * 201, 7)
        ),
        ("key", lambda client: client.delete("votes", key="")),
        ("names", lambda client: client.get_values("votes")),
        ("names", lambda client: client.get_values(["votes", 7])),
        ("names", lambda client: client.get_values(None)),
        ("names", lambda client: client.get_stats("votes")),
        ("names", lambda client: client.like.get_counts("votes")),
        ("names", lambda client: client.like.get_statuses("votes", "ada")),
    ],
)
def test_what_cannot_be_sent_is_told(service, field, use) -> None:
    with pytest.raises(Invalid) as told:
        run(use)
    assert (told.value.field, told.value.uncertain, service.asked) == (field, False, [])


@pytest.mark.parametrize(
    ("field", "names", "since"),
    [
        ("names", (), None),
        ("names", (["a", "b"],), None),
        ("names", (7,), None),
        ("name", ("<script>",), None),
        ("since", ("a",), {"a": 1}),
        ("since", ("a",), {"a": (1,)}),
        ("since", ("a",), {"a": "12"}),
        ("since", ("a",), {"a": (1, -1)}),
        ("since", ("a",), [("a", (1, 0))]),
    ],
)
def test_what_cannot_be_watched_is_told(field, names, since) -> None:
    async def watch(client: CounterClient) -> None:
        client.watch(*names, since=since)

    with pytest.raises(Invalid) as told:
        run(watch)
    assert told.value.field == field


def test_a_place_may_be_two_numbers() -> None:
    async def watch(client: CounterClient) -> None:
        client.watch("a", since={"a": (1, 5)}).close()

    run(watch)
    assert wire.checked_places({"a": [1, 5]}) == {"a": Position(1, 5)}


def test_a_client_for_scripts_is_opened_once() -> None:
    client = SyncCounterClient(URL)
    with client, pytest.raises(ClientClosed):
        client.__enter__()
    with pytest.raises(ClientClosed), client:
        pass


@pytest.mark.parametrize(
    ("wishes", "field"),
    [
        ({"events": "reset"}, "events"),
        ({"events": ["resets"]}, "events"),
        ({"events": []}, "events"),
        ({"events": [["reset"]]}, "events"),
        ({"events": ""}, "events"),
        ({"rate": "5"}, "rate"),
        ({"rate": 0}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"attachment": object()}, "body"),
        ({"attachment": "a" * 2**14}, "attachment"),
    ],
)
def test_what_no_connection_could_ask_for_is_told_at_once(wishes, field) -> None:
    with pytest.raises(Invalid) as wrong:
        CounterClient(URL, **wishes)
    assert wrong.value.data["field"] == field


def test_a_client_that_is_open_is_not_opened_again(service) -> None:
    async def enter_again(client: CounterClient) -> None:
        with pytest.raises(ClientClosed):
            await client.__aenter__()
        service.answer = {"name": "votes", "value": 3}
        assert await client.get_value("votes") == 3

    run(enter_again)
