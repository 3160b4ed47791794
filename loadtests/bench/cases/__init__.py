"""The cases, in the order they are played and reported.

`case` says what one is. Each file holds the cases of one subject: `http_increments`, `socket_increments`,
`fanout`, `at_rest` and `new_counters`.
"""

from loadtests.bench.cases.at_rest import IDLE, IDLE_SOCKETS
from loadtests.bench.cases.case import Case, Outcome
from loadtests.bench.cases.fanout import FANOUT_FULL, FANOUT_PACED
from loadtests.bench.cases.http_increments import HTTP_HOT, KEYED, ONE_AT_A_TIME
from loadtests.bench.cases.new_counters import COLD_TOUCH, RESIDENT
from loadtests.bench.cases.socket_increments import WS_ALL, WS_OWN

CASES: tuple[Case, ...] = (
    IDLE,
    HTTP_HOT,
    WS_OWN,
    WS_ALL,
    FANOUT_FULL,
    FANOUT_PACED,
    ONE_AT_A_TIME,
    KEYED,
    IDLE_SOCKETS,
    COLD_TOUCH,
    RESIDENT,
)

__all__ = ["CASES", "Case", "Outcome"]
