"""What the actors are told when they start; they read nothing from their surroundings."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.core.policy import Policies
from actors.core.ranking import FLOOR
from actors.source import Source


@dataclass(frozen=True, slots=True)
class ActorSettings:
    """Travels with every actor, so that one that Ray starts again knows what the first one knew."""

    database: str  # SQLAlchemy URL.
    run_dir: str  # Sockets of this machine's hosts. Short: a Unix socket's path has at most 107 bytes.
    node: str = ""  # Ray node on which all of it runs: where the database file and the port are.
    secret: str = ""  # Both ends of a link know it.
    log_file: str | None = None
    clustered: bool = False  # Hosts also listen on TCP, for gateways on other nodes.
    hosts: int = 1  # Shared hosts, until somebody asks for more or fewer.
    dedicate_all: bool = False  # Every awake counter has a host of its own.
    dedicated: int = 0  # So many of the busiest counters have a host of their own.
    dedicated_from: float = FLOOR  # Operations per second below which none does.
    hibernate_after: float = 10.0  # Seconds without an operation after which a counter leaves memory.
    max_resident: int = 100_000  # Counters in the memory of one host; above it the least recently used sleep first.
    policies: Policies = field(default_factory=Policies)  # What holds for counters that say nothing themselves.
    sources: tuple[tuple[str, Source], ...] = field(default=(), repr=False)  # Counters that are counted elsewhere.
    redis_url: str = field(default="", repr=False)  # Empty: no Redis. It may hold a password.
    counter_key: str = ""  # The key of Redis that some worker knows already for the default counter.
    default_counter: str = ""  # The counter that is meant where none is named.
