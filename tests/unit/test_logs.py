"""What goes into the log, and how."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from actors import logs
from actors.host_actor import HostActor
from actors.runtime import SupervisorActor
from actors.timer_actor import TimerActor
from gateway.deploy import GatewayActor

log = logging.getLogger("counters.test")


class Broken:
    @logs.failing(log)
    async def __init__(self) -> None:  # type: ignore[misc]
        raise OSError("no room\nat all")


def test_why_an_actor_could_not_start_is_one_line_of_the_log(tmp_path: Path) -> None:
    path, root = tmp_path / "log", logging.getLogger("counters")
    before = root.handlers[:], root.level, root.propagate
    try:
        logs.to_file(str(path))
        with pytest.raises(OSError, match="no room"):
            asyncio.run(Broken.__init__(Broken.__new__(Broken)))
        [line] = path.read_text().splitlines()
    finally:
        root.handlers[:], root.level, root.propagate = before[0], before[1], before[2]
    assert "CRITICAL counters.test action=start_failed error=OSError(" in line
    assert "Traceback" in line


@pytest.mark.parametrize("actor", [HostActor, TimerActor, SupervisorActor, GatewayActor])
def test_every_actor_tells_of_it(actor: type) -> None:
    assert hasattr(actor.__init__, "__wrapped__")
