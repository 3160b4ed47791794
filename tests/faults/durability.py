"""Everything is killed at once under load, and nothing that was acknowledged is missing afterwards.

    python -m tests.faults.durability --rounds 5

`kill -9` for the command, Ray's own processes, supervisor, hosts and gateways. The service is started again on the same
data: every acknowledged operation is there, and what had no answer resolves with its id to exactly once.
Exits with 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass

from tests.support.hammer import Hammer, Ledger, until
from tests.support.hammer_audit import audit, read_database
from tests.support.service_process import Service


@dataclass
class Report:
    """What happened in one round."""

    acknowledged: int
    reopened: int
    applied_unheard: int  # Of the reopened ones, those that had been applied before anybody was killed.
    ready_after_s: float
    wrong: list[str]

    def line(self) -> str:
        return (
            f"{self.acknowledged} acknowledged before the end, {self.reopened} without an answer sent again "
            f"({self.applied_unheard} had been applied); ready again after {self.ready_after_s:.1f} s"
        )


async def run(service: Service, operations: int, round: int = 1, counters: int = 50) -> Report:
    """Hammer until so many operations are acknowledged, kill everything, start again, settle, compare."""
    names = [f"d{round}-hot", *(f"d{round}-{number}" for number in range(counters))]
    ledger = Ledger()
    hammer = Hammer(service.port, ledger, names, f"d{round}", round)
    hammer.start(http=16, sockets=16)
    await until("the load has begun", lambda: len(ledger.acknowledged) >= operations, 60)
    await asyncio.to_thread(service.kill_everything)
    await hammer.stop()
    acknowledged = len(ledger.acknowledged)
    wrong = [f"lost: {each}" for each in _lost(service, ledger)]

    before = sum(row.value for row in read_database(service.database).values())
    begun = time.monotonic()
    await asyncio.to_thread(service.start)
    ready_after_s = time.monotonic() - begun
    reopened = await hammer.settle()
    if ledger.open:
        wrong.append(f"{len(ledger.open)} operations could not be resolved")
    wrong += await audit(service, ledger, [], names)
    after = sum(row.value for row in read_database(service.database).values())
    return Report(acknowledged, reopened, reopened - (after - before), ready_after_s, wrong)


def _lost(service: Service, ledger: Ledger) -> list[str]:
    """What was acknowledged and is not in the database that the dead have left behind."""
    stored = read_database(service.database)
    highest = {counter: max(each.value for each in answers) for counter, answers in ledger.by_counter().items()}
    return [
        f"{counter}: {value} was acknowledged, {stored[counter].value if counter in stored else 0} is stored"
        for counter, value in highest.items()
        if counter not in stored or stored[counter].value < value
    ]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--operations", type=int, default=2_000, help="acknowledged before everything is killed (2000)")
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--gateways", type=int, default=2)
    parser.add_argument("--database", metavar="URL", help="an empty one (a SQLite file)")
    given = parser.parse_args()
    wrong = False
    more = {"database": given.database} if given.database else {}
    with Service(hosts=given.hosts, gateways=given.gateways, **more).start() as service:
        for round in range(1, given.rounds + 1):
            report = asyncio.run(run(service, given.operations, round))
            print("\n".join([report.line(), *(f"WRONG {each}" for each in report.wrong)]), flush=True)
            wrong |= bool(report.wrong)
        service.stop()
    print("wrong" if wrong else "durable")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
