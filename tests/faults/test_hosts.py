"""Hosts that come and go while the service is used: dedicated, scaled, replaced, given up. Nobody notices.

Each test has a service of its own, because it counts its processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
import urllib.request
from collections.abc import Awaitable, Callable

import pytest

from tests.support.hammer import Hammer, Ledger, subscribe, until
from tests.support.hammer_audit import audit
from tests.support.kill import freeze
from tests.support.service_process import Service, wait_for

BACK_S = 5.0  # The supervisor, after it was killed.


def admin(service: Service, procedure: str, **input: object) -> dict[str, object]:
    request = urllib.request.Request(
        f"{service.url}/rpc/admin.{procedure}", json.dumps(input).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=90) as response:
        said: dict[str, object] = json.load(response)
        return said


def up(service: Service, after: int = 0) -> list[str]:
    """The hosts that have come into the table since the log was so long."""
    return re.findall(r"action=host_up host=(\S+)", service.log.read_text(errors="replace")[after:])


def niceness(pid: int) -> int:
    """Of the thread that has most."""
    return max(os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in os.listdir(f"/proc/{pid}/task"))


async def under_load(
    service: Service, names: list[str], act: Callable[[Ledger], Awaitable[None]]
) -> list[str]:
    """Do something while everybody counts and listens. Returns what went wrong."""
    ledger = Ledger()
    subscribers = await subscribe(service.port, names, 2)
    hammer = Hammer(service.port, ledger, names, "load")
    hammer.start(8, 8)
    await until("the load has begun", lambda: len(ledger.acknowledged) >= 300)
    await act(ledger)
    wanted = len(ledger.acknowledged) + 300
    await until("the load goes on", lambda: len(ledger.acknowledged) >= wanted)
    await hammer.stop()
    await hammer.settle()
    wrong = await audit(service, ledger, subscribers, names)
    for one in subscribers:
        one.close()
    return wrong + [f"{hammer.lost} connections were lost"] * (hammer.lost > 0)


@pytest.mark.long  # Half a minute of it is the cooling.
def test_the_hottest_move_to_hosts_of_their_own_and_those_end_when_it_is_over() -> None:
    with Service(hosts=1, gateways=1, dedicated=2, dedicated_from=20).start() as service:
        names = ["hot-a", "hot-b"]

        async def wait(_: Ledger) -> None:
            for name in names:
                await asyncio.to_thread(service.wait_for_line, f"action=host_up host=counter:{name} ")
            assert {f"counter:{name}" for name in names} < set(service.actors("host"))

        assert asyncio.run(under_load(service, names, wait)) == []
        wait_for("only the shared host is left", lambda: list(service.actors("host")) == ["host:0"], 60)
        assert service.call("increment", {"name": "hot-a"})["metadata"]["operationCount"] > 1
        assert service.stop() == 0


def test_a_host_of_its_own_gives_way_to_those_that_many_share() -> None:
    with Service(hosts=1, gateways=1, dedicated=1, dedicated_from=20).start() as service:

        async def wait(_: Ledger) -> None:
            await asyncio.to_thread(service.wait_for_line, "action=host_up host=counter:hot ")

        assert asyncio.run(under_load(service, ["hot"], wait)) == []
        hosts = service.actors("host")
        assert niceness(hosts["counter:hot"]) > niceness(hosts["host:0"]) == os.getpriority(os.PRIO_PROCESS, 0)
        assert service.stop() == 0


def test_a_counter_that_sleeps_loses_its_process_and_who_only_looks_starts_none() -> None:
    with Service(hosts=1, gateways=1, dedicated="all", hibernate_after="1s").start() as service:
        value = service.call("increment", {"name": "a"})["value"]
        assert set(service.actors("host")) == {"host:0", "counter:a"}
        wait_for("its process ends", lambda: set(service.actors("host")) == {"host:0"})

        async def look() -> None:
            [subscriber] = await subscribe(service.port, ["a"], 1)
            assert service.call("getValue", {"name": "a"})["value"] == value
            assert service.call("getValue", {"name": "b"})["value"] == 0
            assert set(service.actors("host")) == {"host:0"}
            await asyncio.to_thread(service.call, "increment", {"name": "a"})
            await until("it is told of the owner that comes", lambda: subscriber.events)
            subscriber.close()

        asyncio.run(look())
        wait_for("its process ends again", lambda: set(service.actors("host")) == {"host:0"})
        assert service.stop() == 0


def test_more_hosts_fewer_hosts_and_new_ones_under_load() -> None:
    with Service(hosts=1, gateways=2, dedicated=0).start() as service:
        names = [f"scaled-{number}" for number in range(40)]

        async def act(ledger: Ledger) -> None:
            for hosts in (3, 1):
                await asyncio.to_thread(admin, service, "scale", hosts=hosts)
                assert len(service.actors("host")) == hosts
            assert list(service.actors("host")) == ["host:0"]
            await asyncio.to_thread(admin, service, "scale", hosts=2)
            before = service.actors("host")
            await asyncio.to_thread(admin, service, "restartHosts")
            after = service.actors("host")
            assert len(after) == 2
            assert before.keys().isdisjoint(after)

        assert asyncio.run(under_load(service, names, act)) == []
        assert service.stop() == 0


def test_a_frozen_host_is_replaced_although_it_was_the_only_one() -> None:
    with Service(hosts=1, gateways=1, dedicated=0).start() as service:
        assert service.call("increment", {"name": "a"})["value"] == 1
        freeze(service.actors("host")["host:0"])
        service.wait_for_line(r"action=host_up host=host:1 ")
        assert service.call("increment", {"name": "a"}, key="k")["value"] == 2
        wait_for("the frozen one has ended", lambda: list(service.actors("host")) == ["host:1"])
        assert service.stop() == 0


def test_the_supervisor_may_die() -> None:
    with Service(hosts=2, gateways=1, dedicated=1, dedicated_from=20).start() as service:
        names = ["hot", *(f"warm-{number}" for number in range(10))]
        after = 0

        async def act(ledger: Ledger) -> None:
            nonlocal after
            await asyncio.to_thread(service.wait_for_line, r"action=host_up host=counter:")
            await asyncio.to_thread(admin, service, "scale", hosts=1)
            hosts, after = service.actors("host"), service.log_size()
            [pid] = service.pids("supervisor")
            killed = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(service.wait_for_line, r"action=rebuilt .*counter:\S+,host:0", after, BACK_S)
            print(f"the supervisor was back after {time.monotonic() - killed:.1f} s")
            assert service.actors("host") == hosts

        assert asyncio.run(under_load(service, names, act)) == []
        assert up(service, after) == []  # Nobody had to register again.
        assert service.stop() == 0
