"""Starlette on uvicorn in front of a Redis server that keeps an append-only file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from typing import ClassVar

from loadtests.bench.peers.peer import Peer, Unavailable

APP = "loadtests.bench.peers.starlette_redis.app:app"


class _StarletteRedis(Peer):
    appendfsync: ClassVar[str]

    def prepare(self) -> None:
        if shutil.which("redis-server") is None:
            raise Unavailable("redis-server is not installed (Debian: apt-get install redis-server)")

    def version(self) -> str:
        said = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True)
        server = said.stdout.split()[2].removeprefix("v=")
        libraries = [f"{name} {metadata.version(name)}" for name in ("starlette", "uvicorn", "redis")]
        return f"redis-server {server}, " + ", ".join(libraries)

    def launch(self) -> None:
        # A Unix socket: cheaper than TCP for both sides, and no second port to find.
        socket = self.scratch / "redis.sock"
        redis = {
            "port": "0",
            "unixsocket": str(socket),
            "dir": str(self.scratch),
            "appendonly": "yes",
            "appendfsync": self.appendfsync,
            "save": "",
        }
        options = [part for key, value in redis.items() for part in (f"--{key}", value)]
        self.spawn("redis-server", *options)
        self.spawn(
            *(sys.executable, "-m", "uvicorn", APP),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--loop", "uvloop", "--http", "httptools", "--ws", "websockets-sansio"),
            *("--no-access-log", "--log-level", "warning", "--backlog", "4096"),
            environment={"BENCH_REDIS_URL": f"unix://{socket}"},
        )


class StarletteRedisEverysec(_StarletteRedis):
    name = "redis-everysec"
    about = "Starlette, Redis INCRBY and PUBLISH; appendfsync everysec (a crash loses up to a second)"
    appendfsync = "everysec"


class StarletteRedisAlways(_StarletteRedis):
    name = "redis-always"
    about = "Starlette, Redis INCRBY and PUBLISH; appendfsync always (acknowledged is durable)"
    appendfsync = "always"
