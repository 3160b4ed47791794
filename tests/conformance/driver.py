"""A client under test: a process that is told what to do and tells what happens, in lines of JSON."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.service_process import ROOT

HERE = Path(__file__).parent
START_S = 30.0
PATIENCE_S = 10.0
LINE_MAX = 2**20


class Driver:
    """One such process."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        path = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_MAX,
        )
        assert await self.hear(START_S) == {"say": "ready"}

    async def stop(self) -> None:
        """Let it end: there is no more to do."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            code = await asyncio.wait_for(self._process.wait(), PATIENCE_S)
        except TimeoutError:
            await self.kill()
            raise AssertionError("the driver did not end with its input") from None
        assert code == 0, f"the driver ended with {code}"

    async def kill(self) -> None:
        """End it, if it still runs."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def tell(self, **said: Any) -> None:
        """Have it do something."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(said).encode() + b"\n")

    async def hear(self, seconds: float = PATIENCE_S) -> dict[str, Any]:
        """What it says next."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), seconds)
        if not line:
            raise AssertionError(f"the driver has ended with {await self._process.wait()}")
        said: dict[str, Any] = json.loads(line)
        return said
