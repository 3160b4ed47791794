"""Who has a host of its own: the hottest counters, and nobody in a hurry.

A process costs half a second of CPU to start and 45 MB to keep, and one more writer takes its turn at the database. So
a counter has to be hot for a while before it gets one, has to be clearly hotter than another to take its place, and has
to be cool for a while before it loses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Operations per second. Below it nobody deserves a process: that costs a tenth of a CPU, as much as the counter itself.
FLOOR = 1_000.0
SHARE = 1 / 8  # Of all operations. One of many equals gains nothing by itself: its host has as much to do as before.
KEEPS = 1 / 4  # Whoever has a process keeps it down to this share of the floor: what halves now and then is still hot.
HOT_S = 3.0  # So long hot enough before a process is started: longer than a burst, which would be over by then.
COOL_S = 30.0  # So long below that before it is ended: waiting costs memory only, a mistake costs a start.
BETTER = 2.0  # A challenger has to be so many times hotter than the coolest: rates that swing change no places.
MOVES_MAX = 2  # That many come and that many go in a round: a second of starting keeps all of two CPUs busy.


@dataclass(frozen=True)
class Standing:
    """What has to be remembered from one round to the next."""

    seated: Mapping[str, float | None]  # Who has a host, and since when it has been cool; None: it is not.
    rising: Mapping[str, float]  # Who has none, and since when it has been hot enough for one.


@dataclass(frozen=True)
class Verdict:
    """What has to be done."""

    standing: Standing  # For the next round; `gets` are seated in it, `loses` are not.
    gets: tuple[str, ...]
    loses: tuple[str, ...]


def rank(
    standing: Standing, rates: Mapping[str, float], places: int, now: float, floor: float = FLOOR
) -> Verdict:
    """Decide about one round. `rates` are operations per second, by name; who is missing has none."""

    def rate(name: str) -> tuple[float, str]:
        return rates.get(name, 0.0), name  # With the name, so that equals have an order, too.

    seated: dict[str, float | None] = {}
    for name, since in standing.seated.items():
        seated[name] = None if rates.get(name, 0.0) >= KEEPS * floor else now if since is None else since
    enough = max(floor, SHARE * sum(rates.values()))
    hot = [name for name, each in rates.items() if each >= enough and name not in seated]
    rising = {name: standing.rising.get(name, now) for name in hot}

    cooled = [name for name, since in seated.items() if since is not None and now - since >= COOL_S]
    others = [name for name in seated if name not in cooled]
    surplus = sorted(others, key=rate)[: max(0, len(others) - places)]
    loses = [*sorted(cooled, key=rate), *surplus][:MOVES_MAX]
    for name in loses:
        del seated[name]

    gets: list[str] = []
    contenders = sorted((name for name, since in rising.items() if now - since >= HOT_S), key=rate, reverse=True)
    for name in contenders[:MOVES_MAX]:
        if len(seated) >= places:
            coolest = min((name for name in seated if name not in gets), key=rate, default=None)
            if len(seated) > places or len(loses) == MOVES_MAX or coolest is None:
                break
            if rates[name] < BETTER * rates.get(coolest, 0.0):
                break
            del seated[coolest]
            loses.append(coolest)
        gets.append(name)
        seated[name] = None
        del rising[name]
    return Verdict(Standing(seated, rising), tuple(gets), tuple(loses))
