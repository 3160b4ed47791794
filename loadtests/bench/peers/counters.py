"""The service of this project, as its own command starts it: Ray, a gateway, a host, SQLite."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from loadtests.bench.peers.peer import Peer, Unavailable


class Counters(Peer):
    name = "counters"
    about = "this service: local Ray, one gateway, one shared host, SQLite with synchronous=FULL"

    def prepare(self) -> None:
        if not self._command.exists():
            raise Unavailable(f"the `counters` command is not installed beside {Path(sys.executable).name}")

    def version(self) -> str:
        return f"durable-counters {metadata.version('durable-counters')}, ray {metadata.version('ray')}"

    def launch(self) -> None:
        self.spawn(
            *(self._command, "serve", "--port", str(self.port), "--data-dir", self.scratch / "data"),
            *("--hosts", "1", "--gateways", "1", "--dedicated", "0"),
        )

    @property
    def _command(self) -> Path:
        return Path(sys.executable).with_name("counters")
