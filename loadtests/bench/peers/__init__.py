"""The servers that are measured: this service and those it is compared with.

Read `peer` first: what the bench asks of every one. Then `counters` (ours), `workerd/` (a Durable Object
in JavaScript) and `starlette_redis/` (what one would write in Python without this project).
"""

from loadtests.bench.peers.counters import Counters
from loadtests.bench.peers.peer import Peer, Unavailable
from loadtests.bench.peers.starlette_redis.peer import StarletteRedisAlways, StarletteRedisEverysec
from loadtests.bench.peers.workerd.peer import Workerd

# In the order of the report's columns; the first is the one the others are compared with.
PEERS: tuple[type[Peer], ...] = (Counters, Workerd, StarletteRedisEverysec, StarletteRedisAlways)

__all__ = ["PEERS", "Counters", "Peer", "Unavailable"]
