"""Inactivity through Redis: a key for each counter that expires when the counter was left alone for too long.

For workers that are there already and listen to such keys, and a second way to a reset. It is no source of truth: when
a key expires, the counter's owner is asked as the timer would ask it. Without Redis, and with one that forgets keys,
loses messages, forbids CONFIG or hangs, the timer does all of it by itself, and nothing else is different.

Each host sets the keys of its own counters, once a second for those that were changed, and listens for all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError, ResponseError

from actors.clock import Clock
from actors.core import name as names

PREFIX = "counters:reset:"
SET_S = 1.0  # So often are keys set, at most.
SLACK_MS = 20  # A key outlives its counter's period by so much: else its owner would say that it is too early.
CHUNK = 200  # Keys set at a time; more would keep a host's loop for too long.
REPLY_S = 2.0  # A Redis that takes longer is not there.
AGAIN_S = 1.0

log = logging.getLogger("counters.expiry")


class Keys(NamedTuple):
    """Which key belongs to which counter."""

    chosen: str = ""  # A key that some worker knows already,
    counter: str = ""  # and the counter that it stands for.

    def of(self, name: str) -> list[str]:
        """The keys of a counter."""
        own = f"{PREFIX}{name}"
        return [own, self.chosen] if self.chosen and name == self.counter else [own]

    def name(self, key: bytes) -> str | None:
        """The counter that a key stands for; None: none that there could be."""
        text = key.decode("utf-8", "replace")
        if self.chosen and text == self.chosen:
            return self.counter or None
        name = text.removeprefix(PREFIX)
        return name if name != text and names.valid(name) else None


class Expiring(Protocol):
    """What this needs of a host."""

    def touched(self) -> Mapping[str, int | None]:
        """Counters that were changed since the last time: the steady time of their reset, or None for no reset."""
        ...

    async def expire(self, names: Iterable[str]) -> None:
        """Ask for those of the counters that are its own whether they are to be reset."""
        ...


class Expiry:
    """Keeps the keys, and hears of those that expire."""

    def __init__(self, url: str, keys: Keys, host: Expiring, clock: Clock) -> None:
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=REPLY_S, socket_connect_timeout=REPLY_S, socket_keepalive=True
        )
        self._database = int(self._redis.connection_pool.connection_kwargs.get("db") or 0)
        self._keys = keys
        self._host = host
        self._clock = clock
        self._away: set[str] = set()  # What does not work at present; each is logged once.

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            await asyncio.gather(self._again("set", self._set), self._again("listen", self._listen))
        finally:
            await self._redis.aclose()

    async def _again(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                if what in self._away:  # See the mirror.
                    await self._redis.connection_pool.disconnect(inuse_connections=False)
                await work()
            except (RedisError, OSError, TimeoutError) as error:
                if what not in self._away:
                    self._away.add(what)
                    log.warning("action=redis_away what=%s error=%s", what, plain(error))
                await asyncio.sleep(AGAIN_S)

    def _works(self, what: str) -> None:
        if what in self._away:
            self._away.discard(what)
            log.info("action=redis_back what=%s", what)

    async def _set(self) -> None:
        """Set the keys of what was changed; what cannot be set is left to the timer."""
        while True:
            await asyncio.sleep(SET_S)
            touched = list(self._host.touched().items())
            for start in range(0, len(touched), CHUNK):
                pipe: Pipeline = self._redis.pipeline(transaction=False)
                for name, due_at in touched[start : start + CHUNK]:
                    for key in self._keys.of(name):
                        if due_at is None:
                            pipe.delete(key)
                        else:
                            left = due_at - self._clock.steady_ms() + SLACK_MS
                            pipe.set(key, b"1", px=max(left, 1))
                await pipe.execute()
                self._works("set")

    async def _listen(self) -> None:
        """Ask about every counter whose key expires."""
        await self._notify()
        async with self._redis.pubsub() as channel:
            await channel.subscribe(f"__keyevent@{self._database}__:expired")
            while True:
                message = await channel.get_message(ignore_subscribe_messages=True, timeout=REPLY_S / 2)
                self._works("listen")
                if message is None:
                    await channel.ping()  # A connection that is silent may be one to a Redis that hangs.
                    continue
                if message["type"] == "message":
                    name = self._keys.name(message["data"])
                    if name is not None:
                        await self._host.expire([name])

    async def _notify(self) -> None:
        """Have Redis tell of keys that expire, if it lets us."""
        try:
            said: dict[Any, Any] = await self._redis.config_get("notify-keyspace-events")
            flags = next(iter(said.values()), "")
            flags = flags.decode() if isinstance(flags, bytes) else flags
            if not ("E" in flags and ("x" in flags or "A" in flags)):
                await self._redis.config_set("notify-keyspace-events", flags + "Ex")
        except ResponseError as error:
            if "config" not in self._away:
                self._away.add("config")
                log.warning("action=redis_config_refused error=%s", plain(error))


def plain(error: Exception) -> str:
    """An error in one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
