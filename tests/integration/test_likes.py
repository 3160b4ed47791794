"""Likes on a running service: whoever likes something is told of it everywhere, at once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from counters_client import CounterClient, Invalid, LimitReached, SyncCounterClient
from tests.support.service_clients import (
    clients_on_every_gateway,
    listening,
    listening_on_every_gateway,
)
from tests.support.service_process import Service


def call(client: httpx.Client, procedure: str, /, key: str | None = None, **input: Any) -> Any:
    """The output of a like procedure; for an error its code."""
    headers = {} if key is None else {"idempotency-key": key}
    body = client.post(f"/rpc/like.{procedure}", json=input, headers=headers).json()
    return body["error"]["code"] if "error" in body else body


def brief(liked: dict[str, Any]) -> tuple[int, bool]:
    assert liked["success"] is True
    assert liked["metadata"]["value"] == liked["newCount"]
    return liked["newCount"], liked["isLiked"]


def test_three_pages(service: Service, counter: str) -> None:
    """A post is liked on one page. The ranking, the profile and the home page say so at once, wherever they ask."""
    feed = [counter, f"{counter}-b", f"{counter}-c"]
    with clients_on_every_gateway(service) as pages:
        assert brief(call(pages[0], "add", name=counter, member="eve")) == (1, True)
    with clients_on_every_gateway(service) as pages, listening_on_every_gateway(service, counter) as open_pages:
        for round in range(20):
            page, others = pages[round % 2], [pages[(round + 1) % 2], pages[round % 2]]
            liked = round % 3 != 2
            count = 2 if liked else 1
            before = call(page, "isLiked", name=counter, member="ann")["isLiked"]
            assert brief(call(page, "add" if liked else "remove", name=counter, member="ann")) == (count, liked)
            for other in others:
                assert call(other, "getStatuses", names=feed, member="ann") == {
                    "statuses": {feed[0]: liked, feed[1]: False, feed[2]: False}
                }
                assert call(other, "getCounts", names=feed)["counts"] == {feed[0]: count, feed[1]: 0, feed[2]: 0}
                assert call(other, "getCount", name=counter) == {"name": counter, "count": count}
                assert call(other, "isLiked", name=counter, member="ann") == {"name": counter, "isLiked": liked}
            if before != liked:
                for open_page in open_pages:
                    event = open_page.hear()
                    assert (event["value"], event["member"]) == (count, "ann")


def test_every_procedure(http: httpx.Client, counter: str) -> None:
    assert brief(call(http, "toggle", name=counter, member="ann")) == (1, True)
    assert brief(call(http, "toggle", name=counter, member="ann")) == (0, False)
    assert brief(call(http, "remove", name=counter, member="ann")) == (0, False)
    for member in ("ann", "bob", "<b>é</b>\"'", "bob"):
        assert call(http, "add", name=counter, member=member)["isLiked"] is True
    page = call(http, "members", name=counter, limit=2)
    assert [each["member"] for each in page["members"]] == ["<b>é</b>\"'", "ann"]
    page = call(http, "members", name=counter, limit=2, cursor=page["cursor"])
    assert [each["member"] for each in page["members"]] == ["bob"]
    described = http.post("/rpc/counter.getMetadata", json={"name": counter}).json()
    assert (described["value"], described["operationCount"], described["policy"]["likes"]) == (3, 5, True)
    newest = http.post("/rpc/counter.getHistory", json={"name": counter}).json()[0]
    assert (newest["operation"], newest["subject"], newest["reason"]) == ("increment(1)", "<b>é</b>\"'", "like.add")


def test_orpc_speaks_of_likes_too(http: httpx.Client, counter: str) -> None:
    answer = http.post("/rpc/like/toggle", json={"json": {"name": counter, "member": "ann"}}).json()
    assert brief(answer["json"]) == (1, True)
    question = json.dumps({"json": {"names": [counter], "member": "ann"}})
    answer = http.get("/rpc/like/getStatuses", params={"data": question}).json()
    assert answer == {"json": {"statuses": {counter: True}}}


def test_a_repeated_key_is_answered_with_the_first_result(service: Service, counter: str) -> None:
    with clients_on_every_gateway(service) as clients:
        answers = [call(client, "toggle", key="k", name=counter, member="ann") for client in [*clients, *clients]]
        assert [brief(answer) for answer in answers] == [(1, True)] * 4
        assert call(clients[0], "toggle", key="k", name=counter, member="bob") == "COUNTER_VALIDATION_ERROR"
        assert call(clients[1], "getCount", name=counter)["count"] == 1


def test_bad_members_and_counters_of_other_things(http: httpx.Client, counter: str) -> None:
    for member in ("", "x" * 257, "x" * 10_240, "a\x00b", "a\nb", "\x1b[31m", "\u2028", None, 7):
        for procedure in ("toggle", "add", "remove", "isLiked"):
            answer = http.post(f"/rpc/like.{procedure}", json={"name": counter, "member": member})
            assert (answer.status_code, answer.json()["error"]["data"]["field"]) == (400, "member")
    http.post("/rpc/counter.increment", json={"name": counter})
    assert call(http, "toggle", name=counter, member="ann") == "COUNTER_VALIDATION_ERROR"
    call(http, "add", name=f"{counter}-likes", member="ann")
    plain = {"increment": {}, "decrement": {}, "setValue": {"value": 7}, "sync": {"actual": 7}, "undo": {"seq": 1}}
    for procedure, more in plain.items():
        answer = http.post(f"/rpc/counter.{procedure}", json={"name": f"{counter}-likes", **more})
        assert (answer.status_code, answer.json()["error"]["data"]["field"]) == (400, "name"), procedure
    assert call(http, "getCount", name=f"{counter}-likes")["count"] == 1
    names = [f"{counter}-{number}" for number in range(1_001)]
    assert call(http, "getCounts", names=names) == "COUNTER_VALIDATION_ERROR"
    assert len(call(http, "getStatuses", names=names[:1_000], member="ann")["statuses"]) == 1_000


def test_over_a_websocket(service: Service, counter: str) -> None:
    with listening(service, counter, key="tab", snapshot=1) as page:
        assert page.hear()["value"] == 0
        page.say(type="like.toggle", member="ann", id="1")
        answers = {message["type"]: message for message in (page.hear(), page.hear())}
        assert brief(answers["like.toggleResult"]["result"]) == (1, True)
        assert (answers["increment"]["member"], answers["increment"]["reason"]) == ("ann", "like.toggle")
        page.say(type="like.toggle", member="ann", id="1")
        assert brief(page.answer("1")["result"]) == (1, True)
        page.say(type="like.remove", member="bob", id="2")
        assert brief(page.answer("2")["result"]) == (1, False)
        page.say(type="like.add", member="", id="3")
        assert page.answer("3")["data"]["field"] == "member"
        page.say(type="increment", id="4")
        assert page.answer("4")["code"] == "COUNTER_VALIDATION_ERROR"
        page.say(type="reset", id="5")
        assert page.answer("5")["result"]["value"] == 0
        page.say(type="like.add", member="eve", id="6")
        assert brief(page.answer("6")["result"]) == (1, True)


def test_the_python_client(service: Service, counter: str) -> None:
    async def live() -> None:
        async with CounterClient(service.url) as counters:
            await counters.create(counter, {"likes": True, "maximum": 2})
            liked = await counters.like.toggle(counter, "ann")
            assert (liked.new_count, liked.is_liked, liked.metadata.operation_count) == (1, True, 1)
            assert (await counters.like.add(counter, "bob", key="k")).new_count == 2
            assert (await counters.like.add(counter, "bob", key="k")).new_count == 2
            with pytest.raises(LimitReached):
                await counters.like.add(counter, "eve")
            with pytest.raises(Invalid):
                await counters.like.add(counter, "")
            assert (await counters.like.remove(counter, "ann")).new_count == 1
            watch = counters.watch(counter)
            assert (await anext(watch)).value == 1
            await counters.like.add(counter, "ann")
            event = await anext(watch)
            assert (event.type, event.value, event.member) == ("increment", 2, "ann")
            watch.close()

    asyncio.run(live())
    with SyncCounterClient(service.url) as counters:
        assert counters.like.is_liked(counter, "ann")
        assert counters.like.get_count(counter) == 2
        assert counters.like.get_counts([counter]) == {counter: 2}
        assert counters.like.get_statuses([counter], "eve") == {counter: False}
        page = counters.like.members(counter, limit=1)
        assert [member.member for member in page.members] == ["ann"]
        assert counters.like.members(counter, cursor=page.cursor).members[0].member == "bob"
        assert not counters.like.toggle(counter, "bob").is_liked
