"""The connection to Postgres is cut in the middle of commits: done or not, every operation counts once.

    python -m tests.faults.cut

A proxy between the service and a server of the test's own passes on what a host asks and drops the answer with the
connection, again and again under a steady load. Every other time it is the request that arrives by half only.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from loadtests.verdict import Verdict
from tests.faults.command import chosen, options
from tests.faults.crowd import Crowd
from tests.support.cut import CuttingProxy
from tests.support.hammer import until
from tests.support.postgres_server import PostgresServer
from tests.support.service_process import Service


@dataclass(frozen=True)
class Sizes:
    cuts: int = field(default=100, metadata={"help": "connections that are cut"})
    counters: int = field(default=50, metadata={"help": "counters that are written"})
    rate: int = field(default=300, metadata={"help": "operations a second in all"})
    hosts: int = field(default=2, metadata={"help": "shared hosts"})


QUICK = Sizes(cuts=4, counters=10, rate=100)


@contextmanager
def stage(sizes: Sizes) -> Iterator[tuple[Service, CuttingProxy]]:
    """A service that reaches its server through a proxy."""
    with PostgresServer(flushed=True) as server:
        url = server.start().new_database()
        with CuttingProxy(server.port) as proxy:
            through = url.replace(f":{server.port}/", f":{proxy.port}/")
            with Service(database=through, hosts=sizes.hosts, dedicated=0).start() as service:
                yield service, proxy


async def run(service: Service, proxy: CuttingProxy, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    crowd = Crowd(service, "cut", sizes.counters, sizes.rate)
    await crowd.start(sizes.counters)
    began = time.monotonic()
    for number in range(sizes.cuts):
        if number % 2:
            proxy.cut_next_request()
        else:
            proxy.cut_next_answer()
        await until("a connection was cut", proxy.cut.is_set, 60)
        await crowd.acknowledged(sizes.counters)
    verdict.count("connections cut", sizes.cuts)
    verdict.figure("a cut and the next operations take", (time.monotonic() - began) / sizes.cuts * 1000, "ms")
    await crowd.judge(verdict, unavailable=True)


def main() -> int:
    """The command."""
    sizes = chosen(options(__doc__, Sizes()).parse_args(), Sizes(), QUICK)
    verdict = Verdict()
    with stage(sizes) as (service, proxy):
        asyncio.run(run(service, proxy, sizes, verdict))
        verdict.exactly("exit code of the service, which left nothing behind", service.stop(), 0)
    return 0 if verdict.kept else 1


if __name__ == "__main__":
    sys.exit(main())
