"""What befalls a database while a service works on it: short versions, which have to be exact, and the full ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from loadtests.verdict import Verdict
from tests.faults import cut, database, migration, transfer
from tests.faults.database import Fault
from tests.faults.test_bars import missed
from tests.support.postgres import needs_postgres
from tests.support.service_process import Service

SQLITE = ("full", "locked")
POSTGRES = ("stopped", "killed", "password", "limit", "read-only", "table", "rows")


@pytest.fixture(scope="module")
def on_sqlite() -> Iterator[tuple[Service, dict[str, Fault]]]:
    with ExitStack() as stack:
        try:
            yield stack.enter_context(database.on_sqlite())
        except PermissionError as error:
            pytest.skip(error.strerror)


@pytest.fixture(scope="module")
def on_postgres() -> Iterator[tuple[Service, dict[str, Fault]]]:
    with database.on_postgres() as place:
        yield place


def check(place: tuple[Service, dict[str, Fault]], fault: str, seconds: float, timed: bool) -> None:
    (service, faults), verdict = place, Verdict()
    asyncio.run(database.run(service, fault, faults[fault], seconds, verdict))
    assert missed(verdict, timed=timed) == []


@pytest.mark.parametrize("fault", SQLITE)
def test_a_file_that_cannot_be_used_for_a_moment(on_sqlite: tuple[Service, dict[str, Fault]], fault: str) -> None:
    check(on_sqlite, fault, 0, timed=False)


@needs_postgres
@pytest.mark.parametrize("fault", POSTGRES)
def test_a_server_that_cannot_be_used_for_a_moment(on_postgres: tuple[Service, dict[str, Fault]], fault: str) -> None:
    check(on_postgres, fault, 0, timed=False)


@pytest.mark.long
@pytest.mark.parametrize("fault", SQLITE)
def test_a_file_that_cannot_be_used_for_long(on_sqlite: tuple[Service, dict[str, Fault]], fault: str) -> None:
    check(on_sqlite, fault, 60, timed=True)


@pytest.mark.long
@needs_postgres
@pytest.mark.parametrize("fault", POSTGRES)
def test_a_server_that_cannot_be_used_for_long(on_postgres: tuple[Service, dict[str, Fault]], fault: str) -> None:
    check(on_postgres, fault, 60, timed=True)


@needs_postgres
@pytest.mark.parametrize("sizes", [cut.QUICK, pytest.param(cut.Sizes(), marks=pytest.mark.long)], ids=["few", "many"])
def test_connections_that_are_cut_in_commits(sizes: cut.Sizes) -> None:
    verdict = Verdict()
    with cut.stage(sizes) as (service, proxy):
        asyncio.run(cut.run(service, proxy, sizes, verdict))
        assert service.stop() == 0, service.tail()
    assert missed(verdict, timed=False) == []


@needs_postgres
@pytest.mark.parametrize(
    "sizes", [transfer.QUICK, pytest.param(transfer.Sizes(), marks=pytest.mark.long)], ids=["few", "a-million"]
)
def test_counters_move_to_another_database(tmp_path: Path, postgres_url: str, sizes: transfer.Sizes) -> None:
    verdict = Verdict()
    transfer.run(tmp_path, postgres_url, sizes, verdict)
    assert missed(verdict, timed=sizes != transfer.QUICK) == []


@pytest.mark.long
@needs_postgres
def test_the_next_version_is_rolled_out_with_its_schema() -> None:
    verdict = Verdict()
    with migration.stage(migration.QUICK) as (service, installed):
        asyncio.run(migration.run(service, installed, migration.QUICK, verdict))
        assert service.stop() == 0, service.tail()
    assert missed(verdict, timed=False) == []
