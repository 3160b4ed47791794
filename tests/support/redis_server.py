"""A Redis server of a test's own: started, killed, frozen, and started again on the same port."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import redis

from tests.support.service_process import free_port, wait_for

MISSING = shutil.which("redis-server") is None


class RedisServer:
    """`options` are lines of its configuration, such as `rename_command="CONFIG off"`."""

    def __init__(self, **options: str) -> None:
        self.port = free_port()
        self.scratch = Path(tempfile.mkdtemp(prefix="rs-"))
        self._options = {"port": str(self.port), "bind": "127.0.0.1", "save": '""', "dir": str(self.scratch)} | options
        self._process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis(port=self.port, socket_timeout=5)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        file = self.scratch / "redis.conf"
        file.write_text("".join(f"{name.replace('_', '-')} {value}\n" for name, value in self._options.items()))
        self._process = subprocess.Popen(["redis-server", str(file)], stdout=subprocess.DEVNULL)
        wait_for("redis answers", self._answers)
        return self

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """`kill -9`; what it held in memory is gone."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)
