"""A service that the integration tests share, and more of them for tests that need one of their own.

A start takes seconds, so whoever can shares. Tests that share use counters of their own and leave the processes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from uuid import uuid4

import httpx
import pytest

from tests.support.service_process import Service


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """A running service with two hosts and two gateways. At the end it stops on SIGINT and leaves nothing behind."""
    with Service(hosts=2, gateways=2).start() as running:
        yield running
        assert running.stop() == 0, running.tail()


@pytest.fixture
def new_service() -> Iterator[Callable[..., Service]]:
    """Makes services that are not started yet; whatever is left of them at the end is ended."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(Service(**settings))


@pytest.fixture
def counter() -> str:
    """A name that nobody has used."""
    return f"t-{uuid4().hex[:12]}"


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    """A client of the shared service."""
    with httpx.Client(base_url=service.url, timeout=10) as client:
        yield client
