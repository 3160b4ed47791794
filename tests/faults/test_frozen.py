"""SIGSTOP: a process that keeps its sockets and answers nobody is as good as dead, and no danger when it thaws."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from actors.placement import HostEntry, Placement, Table
from tests.support.kill import freeze, kill_actor, thaw, wait_until_back
from tests.support.service_process import Service

TAKEN_OVER_S = 6.0  # 1.5 s of silence, the supervisor's look, and room for a busy machine.


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    freeze(pid)
    try:
        yield
    finally:
        thaw(pid)


def counter_of(host: str, *all: str) -> str:
    """A new name that lives on `host` while all of them are there."""
    placement = Placement(Table(1, tuple(HostEntry(each, "", "", None) for each in all)))
    while placement.owner(name := f"f-{uuid4().hex[:8]}") != host:
        pass
    return name


def test_a_host_that_was_suspected_once_is_found_the_next_time() -> None:
    """A pause that is long enough to be suspected and too short to be taken out of the table, then a real one.

    With a service of its own: a second gateway, which has not suspected anybody yet, would hide the mistake.
    """
    with Service(hosts=2, gateways=1).start() as service:
        hosts = service.actors("host")
        name = counter_of("host:0", *hosts)
        service.call("increment", {"name": name})
        after = service.log_size()
        with frozen(hosts["host:0"]):
            service.wait_for_line(r"action=suspect host=host:0", after)
        assert service.call("increment", {"name": name})["value"] == 2
        with frozen(hosts["host:0"]):
            begun = time.monotonic()
            assert service.call("increment", {"name": name}, key="k")["value"] == 3
            assert time.monotonic() - begun < TAKEN_OVER_S
        assert service.stop() == 0


def test_a_killed_host_is_replaced_at_once_although_it_was_suspected_before(service: Service) -> None:
    hosts = service.actors("host")
    name = counter_of("host:1", *hosts)
    service.call("increment", {"name": name})
    after = service.log_size()
    with frozen(hosts["host:1"]):
        service.wait_for_line(r"action=suspect host=host:1", after)
    assert service.call("increment", {"name": name})["value"] == 2
    after = service.log_size()
    kill_actor(service, "host", "host:1")
    begun = time.monotonic()
    assert service.call("increment", {"name": name})["value"] == 3
    assert time.monotonic() - begun < TAKEN_OVER_S
    wait_until_back(service, "host", "host:1", after)
