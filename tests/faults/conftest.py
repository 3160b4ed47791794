"""One service for all tests of this folder. Its processes are killed and come back; no test relies on their numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.service_process import Service


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """A running service with two hosts and two gateways."""
    with Service(hosts=2, gateways=2).start() as running:
        yield running
        assert running.stop() == 0, running.tail()
