"""`python -m tests.sim SEED` tells the story of one run; `python -m tests.sim FIRST LAST` looks for runs that fail."""

from __future__ import annotations

import logging
import sys
from time import perf_counter

from tests.sim.world import Plan, World
from tests.support.loop import run


def story(seed: int) -> int:
    async def play() -> World:
        world = World(seed, trace=True)
        await world.run()
        return world

    world = run(play())
    print(vars(world.plan))
    print("\n".join(world.lines or ()))
    print("\n".join(world.auditor.complaints) or "nothing to complain of")
    return bool(world.auditor.complaints)


def search(first: int, last: int) -> int:
    started, failed = perf_counter(), []
    for seed in range(first, last):
        complaints = played(seed)
        if complaints:
            failed.append(seed)
            print(seed, complaints[0][:300], flush=True)
    print(f"{last - first} runs in {perf_counter() - started:.1f} s, failed: {failed}")
    return bool(failed)


def played(seed: int, plan: Plan | None = None) -> list[str]:
    """The complaints about one run."""

    async def play() -> list[str]:
        return await World(seed, plan=plan).run()

    try:
        return run(play())
    except Exception as error:
        return [repr(error)]


if __name__ == "__main__":
    logging.disable()
    numbers = [int(argument) for argument in sys.argv[1:]]
    sys.exit(story(*numbers) if len(numbers) == 1 else search(*numbers))
