"""Every client behaves alike: the same scenarios, played to each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import yaml

from tests.conformance.clients import CLIENTS
from tests.conformance.driver import HERE, Driver
from tests.conformance.player import Player
from tests.conformance.server import Server

SCENARIOS: list[dict[str, Any]] = yaml.safe_load((HERE / "scenarios.yaml").read_text())


class Suite:
    """One process of a client for all scenarios, each of which opens a client of its own in it."""

    def __init__(self, runner: asyncio.Runner, command: Sequence[str], lacks: frozenset[str]) -> None:
        self.lacks = lacks
        self._runner = runner
        self._driver = Driver(command)
        runner.run(self._driver.start())

    def play(self, scenario: dict[str, Any]) -> None:
        """Play it. After one that failed nobody knows what the process is up to: the next gets a new one."""
        try:
            self._runner.run(self._play(scenario["steps"]))
        except BaseException:
            self._runner.run(self._driver.kill())
            self._runner.run(self._driver.start())
            raise

    async def _play(self, steps: list[dict[str, Any]]) -> None:
        async with Server() as server:
            await Player(server, self._driver).play(steps)

    def end(self) -> None:
        self._runner.run(self._driver.stop())


@pytest.fixture(scope="module", params=CLIENTS)
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    client = CLIENTS[request.param]
    with asyncio.Runner() as runner:
        suite = Suite(runner, client.command(tmp_path_factory.mktemp("driver")), client.lacks)
        yield suite
        suite.end()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["name"])
def test_it(suite: Suite, scenario: dict[str, Any]) -> None:
    if needs := suite.lacks & set(scenario.get("needs", ())):
        pytest.skip(f"this client has no {', '.join(sorted(needs))}")
    suite.play(scenario)
