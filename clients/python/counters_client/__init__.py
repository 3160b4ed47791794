"""The Python client of Durable Counters.

    async with CounterClient("http://127.0.0.1:8094") as counters:
        await counters.increment("votes")
        async for event in counters.watch("votes"):
            print(event.value)

client      CounterClient: every procedure, and watch
likes       likes, a part of it
sync        SyncCounterClient: the same for scripts, without asyncio
records     what the service says, as types
errors      what can go wrong, as types
watch       what somebody who watches reads
socket      the WebSocket; http: the other door; address: where they are
core/       what the client decides: no sockets, no clock, no chance
"""

from counters_client.client import CounterClient
from counters_client.core.connection import Limits, State
from counters_client.core.metrics import Metrics
from counters_client.core.retry import Backoff
from counters_client.errors import (
    CircuitOpen,
    ClientClosed,
    CounterError,
    Forbidden,
    HistoryNotKept,
    Invalid,
    LimitReached,
    NotFound,
    OutboxFull,
    OutOfRange,
    Refused,
    ServiceFailed,
    SourceFailed,
    TimedOut,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from counters_client.records import (
    Alarm,
    AlarmRun,
    Alarms,
    AlarmSet,
    AwakeCounter,
    CounterSource,
    Described,
    Drift,
    DueItem,
    Enriched,
    Event,
    FullHistoryItem,
    HistoryItem,
    Liked,
    Listed,
    Member,
    MemberPage,
    Metadata,
    Page,
    Policy,
    PolicyChanges,
    Position,
    SessionInfo,
    Sessions,
    Synced,
    Total,
    ValueAt,
)
from counters_client.sync import SyncCounterClient
from counters_client.watch import Watch

__all__ = [
    "Alarm",
    "AlarmRun",
    "AlarmSet",
    "Alarms",
    "AwakeCounter",
    "Backoff",
    "CircuitOpen",
    "ClientClosed",
    "CounterClient",
    "CounterError",
    "CounterSource",
    "Described",
    "Drift",
    "DueItem",
    "Enriched",
    "Event",
    "Forbidden",
    "FullHistoryItem",
    "HistoryItem",
    "HistoryNotKept",
    "Invalid",
    "Liked",
    "LimitReached",
    "Limits",
    "Listed",
    "Member",
    "MemberPage",
    "Metadata",
    "Metrics",
    "NotFound",
    "OutOfRange",
    "OutboxFull",
    "Page",
    "Policy",
    "PolicyChanges",
    "Position",
    "Refused",
    "ServiceFailed",
    "SessionInfo",
    "Sessions",
    "SourceFailed",
    "State",
    "SyncCounterClient",
    "Synced",
    "TimedOut",
    "TooManyRequests",
    "Total",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "ValueAt",
    "Watch",
]
