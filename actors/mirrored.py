"""What the mirror writes into Redis: the keys, and the one script that writes them.

A counter's value is a key of its own, a plain number, so that other programs can MGET it. Beside it stands its *place*,
`id:seq`: which life of the counter and how many operations of it the value is after. Places of a name only grow, so
whoever comes late, with a value that was true once, is told from whoever is right, by Redis itself:

    Between two writes of a name, the higher place wins, in whatever order they arrive.

A deletion is a place, too, the one after the last operation; it is kept for an hour without a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

VALUE = "counters:value:"
PLACE = "counters:place:"
EVENTS = "counters:events:"  # Channels.
COMPLETE = "counters:mirror"  # Which database is mirrored here, and by which run of Redis. Missing: it is not complete.
MARKS = "counters:mirror:marks"  # For each host: everything that it committed before this steady time is here.
LOST = "counters:mirror:lost"  # Steady times since when some host does not know what it has left out.

# Redis Cluster is not meant: keys and channels of a call are anywhere.
# ARGV: for each pair of keys what to write, `id:seq:value:seen`; then channels and events in turns. No value means
# deleted. `seen` is a place that gives way whatever it is. Returned are what was not written, and the place it has met.
SCRIPT = """
local refused = {}
for i = 1, #KEYS, 2 do
  local id, seq, value, seen = string.match(ARGV[(i + 1) / 2], '^(%d+):(%d+):(%-?%d*):(.*)$')
  local place = redis.pcall('GET', KEYS[i + 1])
  if type(place) ~= 'string' then place = '' end
  local newer = place == seen
  if not newer then
    local held_id, held_seq = string.match(place, '^(%d+):(%d+)$')
    held_id, held_seq = tonumber(held_id or -1), tonumber(held_seq or -1)
    newer = tonumber(id) > held_id or (tonumber(id) == held_id and tonumber(seq) >= held_seq)
  end
  if not newer then
    refused[#refused + 1] = (i - 1) / 2
    refused[#refused + 1] = place
  elseif value == '' then
    redis.call('DEL', KEYS[i])
    redis.call('SET', KEYS[i + 1], id .. ':' .. seq, 'EX', 3600)
  else
    redis.call('SET', KEYS[i], value)
    redis.call('SET', KEYS[i + 1], id .. ':' .. seq)
  end
end
for i = #KEYS / 2 + 1, #ARGV, 2 do
  redis.call('PUBLISH', ARGV[i], ARGV[i + 1])
end
return refused
"""


class Standing(NamedTuple):
    """Where a counter stands."""

    id: int
    seq: int
    value: int | None  # None: it was deleted.

    @property
    def place(self) -> str:
        return f"{self.id}:{self.seq}"


def keys(names: Sequence[str]) -> list[str]:
    """The keys that the script wants for these counters."""
    return [key for name in names for key in (VALUE + name, PLACE + name)]


def writes(standings: Sequence[Standing], seen: Sequence[str] = ()) -> list[str]:
    """What the script is to write to them."""
    return [
        f"{id}:{seq}:{'' if value is None else value}:{seen[i] if seen else ''}"
        for i, (id, seq, value) in enumerate(standings)
    ]


def place(text: bytes | None) -> tuple[int, int]:
    """A place as Redis has it; lower than all if it is none."""
    id, _, seq = (text or b"").partition(b":")
    return (int(id), int(seq)) if id.isdigit() and seq.isdigit() else (-1, -1)
