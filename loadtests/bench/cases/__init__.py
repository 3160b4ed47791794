"""The cases, in the order they are played and reported.

`case` says what one is. Each file holds the cases of one subject: `http_increments`, `socket_increments`,
`fanout`, `at_rest` and `new_counters`.
"""

from .at_rest import IDLE, IDLE_SOCKETS
from .case import Case, Outcome
from .fanout import FANOUT_FULL, FANOUT_PACED
from .http_increments import HTTP_HOT, ONE_AT_A_TIME
from .new_counters import COLD_TOUCH, RESIDENT
from .socket_increments import WS_ALL, WS_OWN

CASES: tuple[Case, ...] = (
    IDLE,
    HTTP_HOT,
    WS_OWN,
    WS_ALL,
    FANOUT_FULL,
    FANOUT_PACED,
    ONE_AT_A_TIME,
    IDLE_SOCKETS,
    COLD_TOUCH,
    RESIDENT,
)

__all__ = ["CASES", "Case", "Outcome"]
