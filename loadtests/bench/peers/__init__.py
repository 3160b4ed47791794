"""The servers that are measured: this service and those it is compared with.

Read `peer` first: what the bench asks of every one. Then `counters` (ours), `workerd/` (a Durable Object
in JavaScript) and `starlette_redis/` (what one would write in Python without this project).
"""

from .counters import Counters
from .peer import Peer, Unavailable
from .starlette_redis.peer import StarletteRedisAlways, StarletteRedisEverysec
from .workerd.peer import Workerd

# In the order of the report's columns; the first is the one the others are compared with.
PEERS: tuple[type[Peer], ...] = (Counters, Workerd, StarletteRedisEverysec, StarletteRedisAlways)

__all__ = ["PEERS", "Counters", "Peer", "Unavailable"]
