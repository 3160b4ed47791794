"""The supervisor, with processes that start, answer and end when the test says so, on a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from actors.core.ranking import COOL_S, FLOOR, HOT_S
from actors.errors import Refused, Unavailable
from actors.placement import HostEntry, Table
from actors.settings import ActorSettings
from actors.supervisor import RETURN_S, START_S, CannotStart, Supervisor
from tests.support.clock import LoopClock
from tests.support.loop import current, jumping, settle
from tests.support.stage import entry

ENDS_S = 0.1  # How long a host takes to finish.


@dataclass
class Processes:
    """What `actors.runtime` has Ray for. A process registers when the test says `up`."""

    living: dict[str, HostEntry] = field(default_factory=dict)  # Answer.
    frozen: set[str] = field(default_factory=set)  # There, and answer nothing.
    starting: dict[str, str | None] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)  # What each host knows.
    ended: list[tuple[str, int | None]] = field(default_factory=list)  # Id, and the version that it was let go by.
    refuse: bool = False

    def start(self, id: str, dedicated: str | None) -> None:
        if self.refuse or id in self.starting or id in self.living or id in self.frozen:
            raise CannotStart(id)
        self.starting[id] = dedicated

    async def introduce(self) -> dict[str, tuple[HostEntry, Table] | None]:
        said = {id: (host, self.tables.get(id, Table())) for id, host in self.living.items() if id not in self.frozen}
        return {**dict.fromkeys([*self.frozen, *self.starting]), **said}

    async def answers(self, host: HostEntry) -> bool:
        return self.living.get(host.id) == host and host.id not in self.frozen

    async def end(self, id: str, table: Table | None) -> None:
        self.ended.append((id, table.version if table else None))
        if table is not None:
            assert id not in [host.id for host in table.hosts], "it is ended while it still owns something"
            await asyncio.sleep(ENDS_S)
        for each in (self.living, self.starting, self.tables):
            each.pop(id, None)  # type: ignore[attr-defined]
        self.frozen.discard(id)


class World:
    def __init__(self, **settings: object) -> None:
        self.settings = ActorSettings("", "", **settings)  # type: ignore[arg-type]
        self.processes = Processes()
        self.clock = LoopClock(current())
        self.supervisor = Supervisor(self.settings, self.processes, self.clock)

    async def up(self, *ids: str, life: str = "1") -> None:
        """These have been started and register."""
        for id in ids or list(self.processes.starting):
            dedicated = self.processes.starting.pop(id, id.partition(":")[2] if id.startswith("counter:") else None)
            self.processes.living[id] = entry(id, life, dedicated)
            await self.register(id)
        await settle()

    async def register(self, id: str) -> Table:
        return await self.supervisor.register(self.processes.living[id])

    async def die(self, id: str) -> None:
        """Its links end, and somebody says so."""
        host = self.processes.living.pop(id)
        await self.supervisor.report(host)

    async def freeze(self, id: str) -> None:
        self.processes.frozen.add(id)
        await self.supervisor.report(self.processes.living[id])

    async def replaced(self) -> None:
        """The supervisor dies. Everybody else knows the newest table."""
        self.processes.tables = {id: self.table for id in self.ids if id in self.processes.living}
        for timer in (self.supervisor._tending, self.supervisor._ranking):
            if timer is not None:
                timer.cancel()
        for task in self.supervisor._ending.values():
            task.cancel()
        await settle()
        self.supervisor = Supervisor(self.settings, self.processes, self.clock)
        await self.supervisor.rebuild()

    async def tell(self, seconds: float, **rates: float) -> None:
        """Hosts tell their rates once a second; rates are in multiples of the floor."""
        for _ in range(int(seconds)):
            host = next(id for id in self.ids if id.startswith("host:"))
            self.supervisor.activity(host, [(name, rate * FLOOR) for name, rate in rates.items()])
            await asyncio.sleep(1.0)

    @property
    def table(self) -> Table:
        return self.supervisor._table

    @property
    def ids(self) -> list[str]:
        return [host.id for host in self.table.hosts]

    @property
    def starting(self) -> list[str]:
        return list(self.processes.starting)

    @property
    def ended(self) -> list[str]:
        return [id for id, _ in self.processes.ended]


@asynccontextmanager
async def world(**settings: object) -> AsyncIterator[World]:
    built = World(**settings)
    await built.supervisor.rebuild()
    await built.up()
    yield built
    for timer in (built.supervisor._tending, built.supervisor._ranking):
        if timer is not None:
            timer.cancel()


class TestTables:
    @jumping
    async def test_it_starts_as_many_hosts_as_there_should_be(self) -> None:
        async with world(hosts=3) as w:
            assert w.ids == ["host:0", "host:1", "host:2"]
            await asyncio.sleep(10 * START_S)
            assert (w.starting, w.ended) == ([], [])

    @jumping
    async def test_whoever_is_a_step_behind_gets_every_table_and_others_the_newest(self) -> None:
        async with world(hosts=2) as w:
            known = [w.table]
            for _ in range(3):
                w.supervisor._publish(w.table.hosts)
                known.append(w.table)
            for before, after in pairwise(known):
                assert await w.supervisor.newer_table(before.version) == after
                assert after.previous == before.version
            assert await w.supervisor.newer_table(1) == w.table

    @jumping
    async def test_a_newer_table_is_told_at_once_and_the_same_one_after_a_while(self) -> None:
        async with world() as w:
            waiting = asyncio.create_task(w.supervisor.newer_table(w.table.version))
            await settle()
            assert not waiting.done()
            w.supervisor._publish(w.table.hosts)
            assert await waiting == w.table
            assert await w.supervisor.newer_table(w.table.version) == w.table

    @jumping
    async def test_a_version_that_storage_has_seen_is_passed(self) -> None:
        async with world() as w:
            before = w.table
            w.supervisor.seen(before.version)
            assert w.table == before
            w.supervisor.seen(before.version + 10_000_000)
            assert w.table.version > before.version + 10_000_000
            assert (w.table.hosts, w.table.previous) == (before.hosts, before.version)
            w.supervisor.seen(before.version + 5)
            assert w.table.previous == before.version


class TestLostHosts:
    @jumping
    async def test_one_that_answers_stays(self) -> None:
        async with world(hosts=2) as w:
            before = w.table
            await w.supervisor.report(w.processes.living["host:0"])
            await w.supervisor.report(entry("host:0", "an earlier life"))
            assert w.table == before

    @jumping
    async def test_one_that_comes_back_in_time_has_its_place(self) -> None:
        async with world(hosts=2) as w:
            await w.die("host:0")
            assert w.ids == ["host:1"]
            await asyncio.sleep(RETURN_S - 1)
            await w.up("host:0", life="2")
            assert w.table.hosts[0] == entry("host:0", "2")
            await asyncio.sleep(2 * START_S)
            assert (w.ids, w.starting, w.ended) == (["host:0", "host:1"], [], [])

    @jumping
    async def test_one_that_was_started_again_before_anybody_noticed_takes_its_own_place(self) -> None:
        async with world(hosts=2) as w:
            await w.up("host:0", life="2")
            assert w.table.hosts == (entry("host:0", "2"), entry("host:1"))

    @jumping
    async def test_a_frozen_one_is_replaced_and_ended(self) -> None:
        async with world(hosts=1) as w:
            await w.freeze("host:0")
            assert (w.ids, w.starting) == ([], [])
            await asyncio.sleep(RETURN_S + 0.1)
            assert w.starting == ["host:1"]
            assert w.processes.ended == [("host:0", None)]
            await w.up("host:1")
            assert w.ids == ["host:1"]

    @jumping
    async def test_one_that_comes_too_late_has_to_go(self) -> None:
        """It owns nothing, so nobody notices."""
        async with world(hosts=2) as w:
            host = w.processes.living["host:0"]
            await w.freeze("host:0")
            await asyncio.sleep(RETURN_S + 0.1)
            await w.up("host:2")
            before = w.table
            w.processes.living["host:0"] = host  # Nothing could end it.
            w.processes.ended.clear()
            await w.register("host:0")
            await asyncio.sleep(1)
            assert (w.table, w.processes.ended) == (before, [("host:0", before.version)])

    @jumping
    async def test_one_that_comes_back_while_another_is_being_started_stays_and_the_other_goes(self) -> None:
        async with world(hosts=1) as w:
            host = w.processes.living["host:0"]
            await w.freeze("host:0")
            await asyncio.sleep(RETURN_S + 0.1)
            w.processes.living["host:0"] = host
            await w.register("host:0")
            assert w.ids == ["host:0"]
            await w.up("host:1")
            assert (w.ids, w.ended) == (["host:0"], ["host:0", "host:1"])

    @jumping
    async def test_what_does_not_start_is_started_again_under_another_name(self) -> None:
        async with world(hosts=1) as w:
            await w.die("host:0")
            await asyncio.sleep(RETURN_S + 0.1)
            assert w.starting == ["host:1"]
            await asyncio.sleep(START_S)
            assert (w.starting, w.ended) == (["host:2"], ["host:0", "host:1"])

    @jumping
    async def test_a_start_that_fails_is_tried_again_in_peace(self) -> None:
        async with world(hosts=1) as w:
            w.processes.refuse = True
            await w.die("host:0")
            await asyncio.sleep(RETURN_S * 4.5)
            w.processes.refuse = False
            assert len(w.ended) == 4
            await asyncio.sleep(RETURN_S)
            await w.up()
            assert len(w.ids) == 1


class TestScaling:
    @jumping
    async def test_up(self) -> None:
        async with world(hosts=1) as w:
            scaled = asyncio.create_task(w.supervisor.scale(3))
            await settle()
            assert w.starting == ["host:1", "host:2"]
            await w.up("host:1")
            assert not scaled.done()
            await w.up()
            assert await scaled == w.ids == ["host:0", "host:1", "host:2"]

    @jumping
    async def test_down_in_one_table_and_the_youngest_go(self) -> None:
        async with world(hosts=11) as w:
            before = w.table
            assert await w.supervisor.scale(9) == [f"host:{number}" for number in range(9)]
            assert (w.table.previous, w.table.shared) == (before.version, 9)
            assert sorted(w.processes.ended) == [("host:10", w.table.version), ("host:9", w.table.version)]
            await asyncio.sleep(START_S)
            assert (w.starting, len(w.ids)) == ([], 9)

    @jumping
    async def test_one_that_is_being_drained_is_not_let_in_again(self) -> None:
        async with world(hosts=2) as w:
            scaled = asyncio.create_task(w.supervisor.scale(1))
            await settle()
            await w.register("host:1")
            assert w.ids == ["host:0"]
            assert await scaled == ["host:0"]

    @jumping
    async def test_up_again_uses_no_name_twice(self) -> None:
        async with world(hosts=2) as w:
            await w.supervisor.scale(1)
            scaled = asyncio.create_task(w.supervisor.scale(2))
            await settle()
            await w.up()
            assert await scaled == ["host:0", "host:2"]

    @jumping
    async def test_a_number_that_makes_no_sense(self) -> None:
        async with world() as w:
            for hosts in (0, -1, 65, True, "2", None):
                with pytest.raises(Refused):
                    await w.supervisor.scale(hosts)  # type: ignore[arg-type]

    @jumping
    async def test_what_does_not_come_is_told(self) -> None:
        async with world() as w:
            with pytest.raises(Unavailable):
                await w.supervisor.scale(2)
            await w.up()
            assert len(w.ids) == 2


class TestRestarting:
    @jumping
    async def test_each_is_replaced_in_one_table_and_then_ended(self) -> None:
        async with world(hosts=2) as w:
            first = w.table
            restarted = asyncio.create_task(w.supervisor.restart_hosts())
            await settle()
            assert (w.starting, w.table) == (["host:2"], first)
            await w.up()
            assert (w.ids, w.table.previous) == (["host:1", "host:2"], first.version)
            assert w.processes.ended == [("host:0", w.table.version)]
            assert w.starting == []  # One after the other: this one is still finishing.
            await asyncio.sleep(ENDS_S + 0.1)
            assert w.starting == ["host:3"]
            await w.up()
            assert await restarted == ["host:2", "host:3"]
            assert w.ended == ["host:0", "host:1"]

    @jumping
    async def test_one_that_does_not_start_leaves_the_old_one_where_it_is(self) -> None:
        async with world(hosts=1) as w:
            before = w.table
            with pytest.raises(Unavailable):
                await w.supervisor.restart_hosts()
            assert (w.table, w.ended) == (before, ["host:1"])

    @jumping
    async def test_the_old_one_may_die_meanwhile(self) -> None:
        async with world(hosts=1) as w:
            restarted = asyncio.create_task(w.supervisor.restart_hosts())
            await settle()
            await w.die("host:0")
            await w.up("host:1")
            assert await restarted == ["host:1"]
            await asyncio.sleep(START_S)
            assert (w.starting, w.ids) == ([], ["host:1"])

    @jumping
    async def test_hosts_of_one_counter_leave_and_come_back_by_their_rank(self) -> None:
        async with world(hosts=1, dedicated=1) as w:
            await w.tell(HOT_S + 2, votes=4)
            await w.up()
            restarted = asyncio.create_task(w.supervisor.restart_hosts())
            await settle()
            await w.up()
            assert await restarted == ["host:1"]
            assert w.ended == ["host:0", "counter:votes"]
            await w.tell(HOT_S + 2, votes=4)
            assert w.starting == ["counter:votes"]


class TestDedicated:
    @jumping
    async def test_the_hottest_get_hosts_of_their_own_when_those_are_ready(self) -> None:
        async with world(hosts=1, dedicated=2) as w:
            before = w.table
            await w.tell(HOT_S + 2, a=5, b=4, c=3)
            assert (w.starting, w.table) == (["counter:a", "counter:b"], before)
            await w.up()
            assert w.ids == ["counter:a", "counter:b", "host:0"]

    @jumping
    async def test_rates_of_all_hosts_count_together(self) -> None:
        async with world(hosts=2, dedicated=1) as w:
            for _ in range(int(HOT_S + 2)):
                for host in ("host:0", "host:1"):
                    w.supervisor.activity(host, [("a", 0.6 * FLOOR)])
                await asyncio.sleep(1)
            assert w.starting == ["counter:a"]

    @jumping
    async def test_a_cool_one_leaves_the_table_and_then_ends_although_nobody_says_anything_more(self) -> None:
        async with world(hosts=1, dedicated=1) as w:
            await w.tell(HOT_S + 2, a=5)
            await w.up()
            w.supervisor.activity("host:0", [])
            await asyncio.sleep(COOL_S + 10)
            assert (w.ids, w.processes.ended) == (["host:0"], [("counter:a", w.table.version)])
            assert w.supervisor._ranking is None or w.supervisor._ranking.when() < current().time()

    @jumping
    async def test_one_that_cooled_while_it_was_started_ends(self) -> None:
        async with world(hosts=1, dedicated=1) as w:
            await w.tell(HOT_S + 2, a=5)
            await asyncio.sleep(START_S + COOL_S)
            assert (w.starting, w.ended) == ([], ["counter:a"])

    @jumping
    async def test_one_that_dies_has_its_place_back_if_it_comes_in_time(self) -> None:
        async with world(hosts=1, dedicated=1) as w:
            await w.tell(HOT_S + 2, a=5)
            await w.up()
            await w.die("counter:a")
            assert w.ids == ["host:0"]
            await w.tell(RETURN_S - 2, a=5)
            await w.up("counter:a", life="2")
            assert w.ids == ["counter:a", "host:0"]

    @jumping
    async def test_one_that_stays_away_is_ended_and_ranked_anew(self) -> None:
        async with world(hosts=1, dedicated=1) as w:
            await w.tell(HOT_S + 2, a=5)
            await w.up()
            await w.freeze("counter:a")
            await w.tell(RETURN_S + HOT_S + 2, a=5)
            assert w.ended == ["counter:a"]
            assert w.starting == ["counter:a"]
            await w.up()
            assert w.ids == ["counter:a", "host:0"]

    @jumping
    async def test_one_that_comes_unasked_is_ended(self) -> None:
        async with world(hosts=1, dedicated=1) as w:
            await w.up("counter:ghost")
            assert (w.ids, w.ended) == (["host:0"], ["counter:ghost"])

    @jumping
    async def test_without_places_nobody_gets_one(self) -> None:
        async with world(hosts=1) as w:
            await w.tell(20, a=50)
            w.supervisor.dedicate("a")
            assert w.starting == []


class TestAllDedicated:
    @jumping
    async def test_a_counter_gets_one_when_it_is_needed_and_loses_it_when_it_sleeps(self) -> None:
        async with world(hosts=1, dedicate_all=True) as w:
            for _ in range(3):
                w.supervisor.dedicate("a")
            assert w.starting == ["counter:a"]
            await w.up()
            await asyncio.sleep(10 * COOL_S)
            assert w.ids == ["counter:a", "host:0"]
            w.supervisor.quiet("a")
            w.supervisor.quiet("a")
            assert w.ids == ["host:0"]
            w.supervisor.dedicate("a")  # Its name is not free yet; whoever needs it asks again.
            assert w.starting == []
            await asyncio.sleep(1)
            assert w.ended == ["counter:a"]
            w.supervisor.dedicate("a")
            assert w.starting == ["counter:a"]

    @jumping
    async def test_one_that_does_not_start_is_forgotten(self) -> None:
        async with world(hosts=1, dedicate_all=True) as w:
            w.supervisor.dedicate("a")
            await asyncio.sleep(START_S + 1)
            assert (w.starting, w.ended) == ([], ["counter:a"])
            w.supervisor.dedicate("a")
            assert w.starting == ["counter:a"]


class TestItsOwnDeath:
    @jumping
    async def test_it_goes_on_with_the_table_that_the_hosts_know(self) -> None:
        async with world(hosts=2, dedicated=1) as w:
            await w.tell(HOT_S + 2, a=5)
            await w.up()
            before = w.table
            await w.replaced()
            assert w.table == before
            await w.tell(10, a=5)
            assert (w.table, w.starting, w.ended) == (before, [], [])

    @jumping
    async def test_the_number_of_hosts_is_the_one_that_was_asked_for_last(self) -> None:
        async with world(hosts=3) as w:
            await w.supervisor.scale(2)
            await w.replaced()
            await asyncio.sleep(START_S)
            assert (w.ids, w.starting) == (["host:0", "host:1"], [])
            await w.die("host:0")
            await asyncio.sleep(RETURN_S + 0.1)
            assert w.starting == ["host:2"]  # That name was free again long ago.

    @jumping
    async def test_what_was_on_its_way_out_ends_all_the_same(self) -> None:
        async with world(hosts=3, dedicated=1) as w:
            await w.tell(HOT_S + 2, a=5)
            await w.up()
            w.supervisor._dismiss(["a"])
            scaling = asyncio.create_task(w.supervisor.scale(2))
            await settle()
            scaling.cancel()
            w.processes.ended.clear()
            await w.replaced()
            await asyncio.sleep(1)
            assert sorted(w.ended) == ["counter:a", "host:2"]
            assert sorted(w.processes.living) == ["host:0", "host:1"]

    @jumping
    async def test_what_was_being_started_is_let_in_if_there_is_room_and_ended_if_not(self) -> None:
        async with world(hosts=1, dedicated=1) as w:
            scaling = asyncio.create_task(w.supervisor.scale(2))
            await w.tell(HOT_S + 2, a=5)
            assert w.starting == ["host:1", "counter:a"]
            scaling.cancel()
            await w.replaced()
            await settle()
            assert w.ended == ["counter:a"]
            await w.up("host:1")
            assert w.ids == ["host:0", "host:1"]
            await asyncio.sleep(START_S)
            assert w.starting == []

    @jumping
    async def test_hosts_that_are_gone_too_come_back_before_others_are_started(self) -> None:
        async with world(hosts=2) as w:
            hosts = dict(w.processes.living)
            w.processes.frozen.update(hosts)  # Ray is starting both of them again.
            await w.replaced()
            assert (w.ids, w.starting) == ([], [])
            w.processes.frozen.clear()
            await w.up("host:0", "host:1", life="2")
            await asyncio.sleep(START_S)
            assert (w.ids, w.starting, w.ended) == (["host:0", "host:1"], [], [])

    @jumping
    async def test_a_host_that_died_with_it_is_missed(self) -> None:
        async with world(hosts=2) as w:
            w.processes.frozen.add("host:0")
            await w.replaced()
            assert w.ids == ["host:1"]
            await asyncio.sleep(RETURN_S + 0.1)
            assert (w.starting, w.ended) == (["host:2"], ["host:0"])

    @jumping
    async def test_a_hot_counter_of_before_cools_although_nobody_says_anything(self) -> None:
        async with world(hosts=1, dedicated=1) as w:
            await w.tell(HOT_S + 2, a=5)
            await w.up()
            await w.replaced()
            await asyncio.sleep(COOL_S + 10)
            assert (w.ids, w.ended) == (["host:0"], ["counter:a"])
