"""The Python client, driven by lines of JSON: `tests/conformance/README.md` says which."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from typing import Any

from counters_client import Backoff, CounterClient, CounterError, Event, Limits, State, Watch

Told = dict[str, Any]


def say(**said: Any) -> None:
    """Tell the test."""
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


class Client:
    """One client, and who watches through it."""

    def __init__(self, name: str, told: Told) -> None:
        self.name = name
        self._tasks: set[asyncio.Task[None]] = set()
        self._watches: dict[str, Watch] = {}
        options = told.get("options", {})
        limits = Limits(
            backoff=Backoff(options.get("base", 0.02), options.get("cap", 0.1)),
            quiet_s=options.get("quiet", 20.0),
            patience_s=options.get("patience", 10.0),
            answer_s=options.get("answer", 30.0),
        )
        self._client = CounterClient(
            told["url"],
            events=options.get("events"),
            rate=options.get("rate"),
            attachment=options.get("attachment"),
            limits=limits,
            on_state=self._became,
        )

    async def open(self) -> None:
        await self._client.__aenter__()

    async def close(self) -> None:
        await self._client.close()
        await asyncio.gather(*self._tasks)

    def do(self, told: Told) -> None:
        match told:
            case {"do": "watch", "name": name}:
                watch = self._watches[name] = self._client.watch(name)
                self._spawn(self._read(watch, name))
            case {"do": "unwatch", "name": name}:
                self._watches.pop(name).close()
            case {"do": "call"}:
                self._spawn(self._answer(told, self._call(told)))
            case _:
                self._spawn(self._answer(told, self._operate(told)))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _operate(self, told: Told) -> int:
        name, client = told["name"], self._client
        match told["do"]:
            case "increment":
                return (await client.increment(name, told.get("amount", 1))).value
            case "decrement":
                return (await client.decrement(name, told.get("amount", 1))).value
            case "setValue":
                return (await client.set_value(name, told["value"])).value
            case "reset":
                return (await client.reset(name)).value
            case "like.toggle":
                return (await client.like.toggle(name, told["member"])).new_count
            case "like.add":
                return (await client.like.add(name, told["member"])).new_count
            case "like.remove":
                return (await client.like.remove(name, told["member"])).new_count
        raise ValueError(told)

    async def _call(self, told: Told) -> int:
        match told["procedure"]:
            case "getValue":
                return await self._client.get_value(told["name"])
            case "increment":
                return (await self._client.increment(told["name"], key=told["key"])).value
        raise ValueError(told)

    async def _answer(self, told: Told, work: Awaitable[int]) -> None:
        try:
            say(say="done", client=self.name, value=await work, **{"as": told["as"]})
        except CounterError as error:
            said = {"code": error.code, "retryable": error.retryable, "uncertain": error.uncertain}
            say(say="failed", client=self.name, **{"as": told["as"]}, **said)

    async def _read(self, watch: Watch, name: str) -> None:
        try:
            async for event in watch:
                say(say="event", client=self.name, **described(event))
        except CounterError as error:
            say(say="ended", client=self.name, name=name, code=error.code)

    def _became(self, state: State, error: CounterError | None) -> None:
        say(say="state", client=self.name, state=state)


def described(event: Event) -> Told:
    """An event, as the test is told of it."""
    life, seq = event.position
    return {
        "name": event.name, "type": event.type, "value": event.value, "previous": event.previous_value, "life": life,
        "seq": seq, "operations": event.operations, "reason": event.reason,
        "member": event.member,
    }  # fmt: skip


async def main() -> None:
    """Do what is said, until there is no more."""
    reader = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    clients: dict[str, Client] = {}
    say(say="ready")
    while line := await reader.readline():
        told: Told = json.loads(line)
        name = told["client"]
        if told["do"] == "open":
            clients[name] = Client(name, told)
            await clients[name].open()
        elif told["do"] == "close":
            await clients.pop(name).close()
            say(say="closed", client=name)
        else:
            clients[name].do(told)
    for client in clients.values():
        await client.close()


if __name__ == "__main__":
    asyncio.run(main())
