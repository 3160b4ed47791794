"""Report who leads a poll, and go on after a restart where it stopped: python examples/poll_bot.py red green blue

How far it has read is kept in poll.json, so nothing is missed; each report has a key, so none is counted twice.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from counters_client import CounterClient, Position

URL = os.environ.get("COUNTERS_URL", "http://127.0.0.1:8094")
FILE = Path("poll.json")


async def main(names: list[str]) -> None:
    kept = json.loads(FILE.read_text()) if FILE.exists() else {"votes": {}, "places": {}, "leader": None}
    since = {name: Position(*place) for name, place in kept["places"].items()}
    async with CounterClient(URL) as counters:
        async for event in counters.watch(*names, since=since):
            kept["votes"][event.name] = event.value
            kept["places"][event.name] = event.position
            leader = max(kept["votes"], key=kept["votes"].get)
            if leader != kept["leader"]:
                kept["leader"] = leader
                key = f"{event.name}/{event.position.life}/{event.position.seq}"
                report = await counters.increment("poll-bot.reports", key=key)
                print(f"{report.value}. {leader} leads with {kept['votes'][leader]}", flush=True)
            new = FILE.with_suffix(".new")
            new.write_text(json.dumps(kept))
            new.replace(FILE)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or sys.exit("Which counters? python examples/poll_bot.py red green blue")))
