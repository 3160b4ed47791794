"""A proxy that the environment names: there is none to this machine, and one of no use is told."""

from __future__ import annotations

import asyncio

import pytest

from counters_client import CounterClient, Invalid, Limits, SyncCounterClient, Unreachable
from counters_client.core.retry import Backoff

HURRIED = Limits(backoff=Backoff(0.001, 0.001))


@pytest.fixture(autouse=True)
def proxy(monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "nonsense://127.0.0.1:1")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_none_leads_to_this_machine(host) -> None:
    with SyncCounterClient(f"http://{host}:1", limits=HURRIED) as client, pytest.raises(Unreachable):
        client.get_value("votes")


def test_one_of_no_use_is_told() -> None:
    client = SyncCounterClient("http://counters.test")
    with pytest.raises(Invalid, match="its proxy"), client:
        pass


def test_the_websocket_tells_it_too(monkeypatch) -> None:
    async def operate() -> None:
        monkeypatch.setenv("NO_PROXY", "*")
        async with CounterClient("http://counters.test") as client:
            monkeypatch.setenv("NO_PROXY", "")
            await client.increment("votes")

    with pytest.raises(Invalid, match="its proxy"):
        asyncio.run(operate())
