"""The commands of this folder: short versions, which have to be exact, and the full ones with all their bars.

Bars that are made of time or memory are left to the full ones: this may be a busy machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.service import raise_open_files
from loadtests.verdict import Line, Verdict
from tests.faults import (
    claims,
    clients,
    failover,
    freeze,
    hibernation,
    likes,
    move,
    neighbour,
    overload,
    supervisor,
    upgrade,
)
from tests.faults.command import Command
from tests.support.postgres import needs_postgres
from tests.support.postgres_server import PostgresServer
from tests.support.service_process import Service

COMMANDS = {
    module.__name__.rpartition(".")[2]: module.COMMAND
    for module in (clients, failover, freeze, supervisor, upgrade, move, neighbour, hibernation, overload, likes)
}


@pytest.fixture(scope="module")
def tormented() -> Iterator[Service]:
    """One service for all short versions."""
    settings = {"dedicated": 1, "dedicated_from": move.DEDICATED_FROM, "hibernate_after": "500ms"}
    with Service(hosts=3, gateways=1, **settings).start() as running:
        yield running
        assert running.stop() == 0, running.tail()


def missed(verdict: Verdict, timed: bool) -> list[str]:
    """The bars that were missed, and what was wrong in words."""

    def counts(line: Line) -> bool:
        return line.title.startswith("WRONG") or (line.kept is False and (timed or not line.timed))

    return [str(line) for line in verdict.lines if counts(line)]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_short_version_is_exact(tormented: Service, name: str) -> None:
    command, verdict = COMMANDS[name], Verdict()
    command.on_loop(tormented, command.quick, verdict)
    assert missed(verdict, timed=False) == []


def test_few_claimants_are_told_apart(tmp_path: Path) -> None:
    verdict = Verdict()
    claims.run(f"sqlite:///{tmp_path / 'counters.db'}", claims.QUICK, verdict)
    assert missed(verdict, timed=False) == []


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_every_bar_is_kept(name: str) -> None:
    check(COMMANDS[name])


@pytest.mark.long
def test_hundreds_of_claimants_are_told_apart(tmp_path: Path) -> None:
    raise_open_files()
    verdict = Verdict()
    claims.run(f"sqlite:///{tmp_path / 'counters.db'}", claims.Sizes(), verdict)
    assert missed(verdict, timed=True) == []


@needs_postgres
def test_few_claimants_on_a_server_are_told_apart(postgres_url: str) -> None:
    verdict = Verdict()
    claims.run(postgres_url, claims.QUICK, verdict)
    assert missed(verdict, timed=False) == []


@pytest.mark.long
@needs_postgres
def test_hundreds_of_claimants_on_a_server_are_told_apart() -> None:
    raise_open_files()
    verdict = Verdict()
    with PostgresServer() as server:
        url = server.start(max_connections=claims.Sizes().claimants + 20).new_database()
        claims.run(url, claims.Sizes(), verdict)
    assert missed(verdict, timed=True) == []


def check(command: Command) -> None:
    """The full sizes, on a service of its own."""
    raise_open_files()
    verdict = Verdict()
    with Service(**command.flags(command.sizes)).start() as service:
        command.on_loop(service, command.sizes, verdict)
        assert service.stop() == 0, service.tail()
    assert missed(verdict, timed=True) == []
