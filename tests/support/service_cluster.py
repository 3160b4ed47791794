"""A Ray cluster of one node that is not the service's own: what `ray start --head` makes, without the dashboard."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from tests.support.service_process import ROOT, START_S, Family, free_port

OBJECT_STORE_BYTES = 80 * 2**20


class RayHead:
    """Started on free ports, with a home of its own, so that no token and no setting of this machine takes part."""

    def __init__(self) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="rh-"))  # Short: a Unix socket's path has at most 107 bytes.
        self.address = f"127.0.0.1:{free_port()}"
        self.family = Family()

    def environment(self) -> dict[str, str]:
        """For drivers: they find this cluster and belong to it."""
        return self.family.environment(HOME=str(self.scratch), RAY_ADDRESS=self.address)

    def start(self) -> Self:
        ports = {name: str(free_port()) for name in ("dashboard-agent-listen-port", "metrics-export-port")}
        flags = {
            "node-ip-address": "127.0.0.1",
            "port": self.address.partition(":")[2],
            "num-cpus": "2",
            "object-store-memory": str(OBJECT_STORE_BYTES),
            "include-dashboard": "false",
            "include-log-monitor": "false",
            "temp-dir": str(self.scratch / "ray"),
            **ports,
        }
        run = subprocess.run(
            [Path(sys.executable).with_name("ray"), "start", "--head", *(f"--{k}={v}" for k, v in flags.items())],
            env=self.environment(), cwd=ROOT, capture_output=True, text=True, timeout=START_S,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout + run.stderr
        self.family.processes()
        return self

    def run(self, *command: str | Path, timeout: float = 60.0) -> str:
        """Run a Python program as a driver of this cluster, and return what it printed."""
        run = subprocess.run(
            [sys.executable, *map(str, command)],
            env=self.environment(), cwd=ROOT, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.family.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)
