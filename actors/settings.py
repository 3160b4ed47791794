"""What the actors are told when they start; they read nothing from their surroundings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ActorSettings:
    """Travels with every actor, so that one that Ray starts again knows what the first one knew."""

    database: str  # SQLAlchemy URL.
    run_dir: str  # Sockets of this machine's hosts. Short: a Unix socket's path has at most 107 bytes.
    node: str = ""  # Ray node on which all of it runs: where the database file and the port are.
    secret: str = ""  # Both ends of a link know it.
    log_file: str | None = None
    clustered: bool = False  # Hosts also listen on TCP, for gateways on other nodes.
    dedicate_all: bool = False
