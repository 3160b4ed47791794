"""Plays a scenario: steps of a scripted server and of a client under test, in their order."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.conformance.driver import Driver
from tests.conformance.server import CALM_S, Line, Server

Step = dict[str, Any]
AT = "2026-11-22T02:18:45.634Z"
CLIENT = "c"


class Player:
    """One scenario. A value that begins with `$` is a name for what is there: the same each time."""

    def __init__(self, server: Server, driver: Driver) -> None:
        self._server = server
        self._driver = driver
        self._known: dict[str, Any] = {}
        self._line: Line | None = None
        self._left_at = 0.0  # When the server last turned the client away.
        self._heard: list[dict[str, Any]] = []  # What the client has said, and no step has asked for yet.

    async def play(self, steps: list[Step]) -> None:
        """All steps; fails at the first that does not come out."""
        for number, step in enumerate(steps, 1):
            [(verb, given)] = step.items()
            try:
                await getattr(self, f"_{verb}")(given)
            except (AssertionError, TimeoutError) as error:
                heard = [said for said in self._heard if said["say"] != "state"]
                why = str(error) or type(error).__name__
                raise AssertionError(f"step {number}, {step}: {why}; heard {heard}") from error
        await self._check_nothing_is_left()

    async def _check_nothing_is_left(self) -> None:
        self._driver.tell(do="close", client=CLIENT)
        await self._expect("closed", {})
        unread = [*(self._line.messages if self._line else ()), *self._server.unread]
        unread += [said for said in self._heard if said["say"] in ("event", "done", "failed")]
        unread = [said for said in unread if not (isinstance(said, dict) and said.get("type") == "unsubscribe")]
        assert unread == [], f"nobody expected {unread}"

    # What the client is to do

    async def _open(self, options: dict[str, Any] | None) -> None:
        self._driver.tell(do="open", client=CLIENT, url=self._server.url, options=options or {})

    async def _watch(self, name: str) -> None:
        self._driver.tell(do="watch", client=CLIENT, name=name)

    async def _unwatch(self, name: str) -> None:
        self._driver.tell(do="unwatch", client=CLIENT, name=name)

    async def _do(self, given: dict[str, Any]) -> None:
        self._driver.tell(client=CLIENT, **given)

    # What the client is to say

    async def _event(self, wanted: dict[str, Any]) -> None:
        """The next event, or if a counter is named, the next of that: between two counters there is no order."""
        said = await self._next("event", wanted.get("name"))
        assert self._matches(wanted, said), f"came {said}"

    async def _done(self, wanted: dict[str, Any]) -> None:
        await self._expect("done", wanted)

    async def _failed(self, wanted: dict[str, Any]) -> None:
        await self._expect("failed", wanted)

    async def _state(self, state: str) -> None:
        await self._expect("state", {"state": state})

    async def _next(self, kind: str, name: str | None = None) -> dict[str, Any]:
        """The next thing of this kind that it says; of the counter `name`, if there is one."""
        while True:
            for said in self._heard:
                if said["say"] == kind and name in (None, said.get("name")):
                    self._heard.remove(said)
                    return said
            self._heard.append(await self._driver.hear())

    async def _expect(self, kind: str, wanted: dict[str, Any]) -> None:
        """It says this, in whatever order with others of its kind."""
        passed = []
        try:
            while not self._matches(wanted, said := await self._next(kind)):
                passed.append(said)
        finally:
            self._heard = passed + self._heard

    # What the server does

    async def _accept(self, wanted: dict[str, Any] | None) -> None:
        line = await self._handshake(wanted)
        line.accept()
        self._server.talk(line)
        self._line = line

    async def _refuse(self, given: dict[str, Any]) -> None:
        line = await self._handshake(given.get("wanted"))
        line.refuse(given["status"], given.get("headers", {}), given.get("body", ""))
        self._left_at = asyncio.get_running_loop().time()

    async def _handshake(self, wanted: dict[str, Any] | None) -> Line:
        wanted = dict(wanted or {})
        not_before_s = wanted.pop("not_before_s", 0.0)
        line = await self._server.line()
        assert line.path == "/ws", line.path
        assert self._matches(wanted, line.query), f"came with {line.query}"
        assert line.at - self._left_at >= not_before_s, f"came after {line.at - self._left_at:.3f} s"
        return line

    async def _hear(self, wanted: dict[str, Any]) -> None:
        """The next message of this type; those of other types are another step's."""
        line = self._here
        async with asyncio.timeout(CALM_S):
            while True:
                for message in line.messages:
                    if message["type"] == wanted["type"]:
                        line.messages.remove(message)
                        assert self._matches(wanted, message), f"came {message}"
                        return
                assert not line.over, "the client has left"
                line.news.clear()
                await line.news.wait()

    async def _send(self, message: Any) -> None:
        """Any message, as it is; or any text."""
        self._here.say(self._filled(message))

    async def _tell(self, given: dict[str, Any]) -> None:
        """An event or a snapshot of a counter."""
        seq, life, value = given["seq"], given.get("life", 1), given.get("value", given["seq"])
        type = given.get("type", "increment")
        message = {"type": type, "value": value, "metadata": metadata(given["name"], life, seq, value), "timestamp": AT}
        if type != "snapshot":
            message["previousValue"] = given.get("previous", value - 1)
        more = ("operations", "reason", "member", "extra")
        self._here.say(message | {name: given[name] for name in more if name in given})

    async def _answer(self, given: dict[str, Any]) -> None:
        """The result of an operation."""
        given = self._filled(given)
        value, name = given["value"], given["name"]
        item = {"id": value, "operation": "increment(1)", "previousValue": 0, "newValue": value, "timestamp": AT}
        result = {
            "name": name, "value": value, "previousValue": 0, "metadata": metadata(name, 1, value, value),
            "latestHistory": [item], "timestamp": AT,
        }  # fmt: skip
        type = given.get("type", "increment")
        if type.startswith("like."):
            told = {"success": True, "newCount": value, "isLiked": given["liked"]}
            result = {"name": name, **told, "metadata": result["metadata"]}
        self._here.say({"type": f"{type}Result", "id": given["id"], "result": result})

    async def _raw(self, data: str) -> None:
        """Bytes, in hexadecimal, in the middle of the stream."""
        self._here.raw(bytes.fromhex(data))

    async def _close(self, given: dict[str, Any]) -> None:
        self._here.close(given["code"], given.get("reason", ""))
        self._left()

    async def _drop(self, _: None) -> None:
        self._here.drop()
        self._left()

    async def _silence(self, _: None) -> None:
        self._here.be_silent()
        self._left()

    async def _gone(self, _: None) -> None:
        """The client leaves."""
        line = self._here
        async with asyncio.timeout(CALM_S):
            while not line.over:
                line.news.clear()
                await line.news.wait()

    async def _request(self, given: dict[str, Any]) -> None:
        """An HTTP request comes, and is answered."""
        request = await self._server.request()
        assert request.path == f"/rpc/counter.{given['procedure']}", request.path
        assert self._matches(given.get("headers", {}), request.headers), request.headers
        waited_s = request.at - self._left_at
        assert waited_s >= given.get("not_before_s", 0.0), f"came after {waited_s:.3f} s"
        if given.get("drop"):
            request.writer.transport.abort()
        else:
            answer = given["answer"]
            request.answer(answer["status"], answer.get("headers", {}), answer["body"])
        self._left_at = asyncio.get_running_loop().time()

    @property
    def _here(self) -> Line:
        assert self._line is not None, "nobody is connected"
        return self._line

    def _left(self) -> None:
        self._left_at = asyncio.get_running_loop().time()
        messages, self._line = self._here.messages, None
        assert not messages, f"nobody expected {list(messages)}"

    # Values

    def _matches(self, wanted: dict[str, Any], found: dict[str, Any]) -> bool:
        """Whether everything wanted is there; names are given to what was not known before."""
        learned: dict[str, Any] = {}
        for name, value in wanted.items():
            if name not in found:
                return False
            if isinstance(value, str) and value.startswith("$"):
                value = self._known.get(value, learned.setdefault(value, found[name]))
            if found[name] != value:
                return False
        self._known |= learned
        return True

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._filled(each) for name, each in value.items()}
        return self._known[value] if isinstance(value, str) and value in self._known else value


def metadata(name: str, life: int, seq: int, value: int) -> dict[str, Any]:
    """A counter, as the service describes it."""
    at = AT if life else None
    return {"id": life, "name": name, "value": value, "createdAt": at, "updatedAt": at, "operationCount": seq}
