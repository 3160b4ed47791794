"""The mirror made from storage: all of it, what was changed lately, and what is different.

For whoever has time: every call blocks, and storage is read in pages. Owners write meanwhile; places see to it that the
newer value stays. A place that is ahead of storage was put there by another database, and gives way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from actors.clock import SystemClock
from actors.core.name import valid
from actors.core.retention import CHOSEN_MS
from actors.mirrored import COMPLETE, MARKS, PLACE, SCRIPT, VALUE, Standing, keys, place, writes
from storage.records import CounterRecord
from storage.store import Store

PAGE = 1_000  # Counters read from storage at a time.
CHUNK = 250  # Counters in one call to Redis, which does nothing else for a millisecond.
REPLY_S = 2.0
ALL = ""  # Whose mark it is that holds for every host.
SLACK_MS = 2_000  # Clocks of several machines.
WALL_SLACK_MS = 3_600_000  # A deletion has wall time, which somebody may have set back.
LOOKS = 10  # So often is a difference looked at before it is one: an owner is milliseconds late,
LOOK_AGAIN_S = 0.5  # and may have been stopped for a moment.


class Difference(NamedTuple):
    """What Redis has and what it should have; None: nothing."""

    name: str
    mirrored: str | None
    value: int | None


class Rebuild:
    """A store and the Redis that mirrors it."""

    def __init__(self, store: Store, url: str, clock: SystemClock) -> None:
        self.redis: Redis = Redis.from_url(
            url, socket_timeout=REPLY_S, socket_connect_timeout=REPLY_S, retry=Retry(NoBackoff(), 0)
        )
        self._write = self.redis.register_script(SCRIPT)
        self._store = store
        self._clock = clock
        self._database = ""

    def close(self) -> None:
        """Let go of Redis. The store is the caller's."""
        self.redis.close()

    def complete(self) -> str:
        """What Redis says when it has everything of this database, and has had since it was started."""
        self._database = self._database or self._store.agree("mirror", uuid4().hex)
        try:
            run: Any = self.redis.info("server")
        except ResponseError:  # It is not ours to know; then a restart with old data goes unnoticed.
            run = {}
        return f"{self._database} {run.get('run_id', '')}"

    def everything(self, told: Callable[[int], None] = lambda count: None) -> tuple[int, int]:
        """Set every counter, and remove what is none. Returns the numbers of both; `told` hears how far it is."""
        begun, token = self._clock.steady_ms(), f"since {uuid4().hex}"
        complete = self.complete()
        self.redis.set(COMPLETE, token)
        count = 0
        for rows in self._pages():
            self._set(rows)
            count += len(rows)
            told(count)
        removed = sum(self._remove(names) for names in self._strangers())
        if self.redis.get(COMPLETE) == token.encode():  # Else it was emptied meanwhile.
            pipe = self.redis.pipeline()
            pipe.hset(MARKS, ALL, str(begun))
            pipe.set(COMPLETE, complete)
            pipe.execute()
        return count, removed

    def lately(self, since: int) -> int:
        """Set what was changed or deleted at or after the steady time `since`. Returns how many that were."""
        if self._clock.steady_ms() - since > CHOSEN_MS - 2 * WALL_SLACK_MS:
            return sum(self.everything())  # Deletions are remembered for a day.
        count, id = 0, 0
        while rows := self._store.used(since - SLACK_MS, id, PAGE):
            self._set([row for row in rows if row.created_at is not None])
            count, id = count + len(rows), rows[-1].id
        wall = self._clock.now_ms() - (self._clock.steady_ms() - since) - WALL_SLACK_MS
        id = 0
        while gone := self._store.deleted(wall, id, PAGE):
            self._apply({row.reason or "": Standing(row.counter_id, row.seq, None) for row in gone})
            count, id = count + len(gone), gone[-1].counter_id
        return count

    def differences(self) -> Iterator[Difference]:
        """What is wrong and stays wrong, while owners go on writing."""
        for rows in self._pages():
            yield from self._wrong([row.name for row in rows])
        for names in self._strangers():
            yield from self._wrong(names)

    # Writing

    def _set(self, rows: Sequence[CounterRecord]) -> None:
        self._apply({row.name: Standing(row.id, row.seq, row.value) for row in rows})

    def _apply(self, standings: Mapping[str, Standing]) -> None:
        for some in _chunks(list(standings.items()), CHUNK):
            refused = self._write(keys([name for name, _ in some]), writes([each for _, each in some]))
            met = {some[index][0]: held for index, held in _pairs(refused)}
            if met:
                self._overrule(met)

    def _overrule(self, met: Mapping[str, bytes]) -> None:
        """These have a higher place in Redis. Read after that, storage is not behind it, if it is of this database."""
        rows = self._store.read(list(met))
        behind = {name: row for name, row in rows.items() if (row.id, row.seq) < place(met[name])}
        if behind:
            standings = [Standing(row.id, row.seq, row.value) for row in behind.values()]
            self._write(keys(list(behind)), writes(standings, [met[name].decode() for name in behind]))

    def _remove(self, names: Sequence[str]) -> int:
        """Remove those of `names` that are no counters."""
        held: list[Any] = self.redis.mget([PLACE + name for name in names])
        rows = self._store.read(names)
        gone = {name: at or b"" for name, at in zip(names, held, strict=True) if name not in rows}
        if gone:
            places = [place(at) for at in gone.values()]
            standings = [Standing(max(id, 0), max(seq, 0) + 1, None) for id, seq in places]
            self._write(keys(list(gone)), writes(standings, [at.decode() for at in gone.values()]))
        return len(gone)

    # Reading

    def _pages(self) -> Iterator[list[CounterRecord]]:
        id = 0
        while rows := self._store.after(id, PAGE):
            id = rows[-1].id
            yield [row for row in rows if row.created_at is not None]

    def _strangers(self) -> Iterator[list[str]]:
        """Names that Redis has and storage has not."""
        found = self.redis.scan_iter(f"{VALUE}*", count=PAGE)
        names = (key.decode("utf-8", "replace").removeprefix(VALUE) for key in found)
        for some in _chunks(filter(valid, names), PAGE):
            there = self._store.read(some)
            strangers = [name for name in some if name not in there]
            if strangers:
                yield strangers

    def _wrong(self, names: Sequence[str]) -> Iterator[Difference]:
        before, wrong = self._store.read(names), list(names)
        for look in range(LOOKS):
            if look:
                self._clock.sleep(LOOK_AGAIN_S)
            mirrored = self._mirrored(wrong)
            after = self._store.read(wrong)
            wrong = [name for name in wrong if not _agree(before.get(name), mirrored[name], after.get(name))]
            if not wrong:
                return
            before = after
        for name in wrong:
            row = after.get(name)
            value = mirrored[name][0]
            yield Difference(
                name, None if value is None else value.decode("utf-8", "replace"), None if row is None else row.value
            )

    def _mirrored(self, names: Sequence[str]) -> dict[str, tuple[bytes | None, bytes | None]]:
        """Value and place of each, as they were at one moment."""
        found: list[Any] = self.redis.mget(keys(names))
        return {name: (found[2 * i], found[2 * i + 1]) for i, name in enumerate(names)}


def _agree(
    before: CounterRecord | None, mirrored: tuple[bytes | None, bytes | None], after: CounterRecord | None
) -> bool:
    """Whether Redis said something that was true between two looks into storage."""
    value, at = mirrored
    stands = place(at)
    for row in (before, after):
        if row is None and value is None:
            return True
        if row is not None and value is not None and stands == (row.id, row.seq):
            return value == b"%d" % row.value
    lowest = (before.id, before.seq) if before is not None else (0, 0)
    return after is not None and value is not None and lowest < stands < (after.id, after.seq)


def _pairs(flat: Sequence[Any]) -> Iterator[tuple[int, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
