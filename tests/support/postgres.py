"""The Postgres of a test run: one server for all tests that ask for it, a database of its own for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres_server import ABSENT, PostgresServer, binaries


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server, shared. Whoever stops or kills servers makes one of their own."""
    if binaries() is None:
        pytest.skip(ABSENT)
    with PostgresServer() as server:
        yield server.start()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    url = postgres_server.new_database()
    yield url
    postgres_server.drop_database(url)


needs_postgres = pytest.mark.skipif(binaries() is None, reason=ABSENT)
