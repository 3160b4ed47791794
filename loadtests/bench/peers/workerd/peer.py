"""workerd, the runtime of Cloudflare's Durable Objects, with the counter in `counter.js`."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

from loadtests.bench.peers.peer import Peer, Unavailable

HERE = Path(__file__).parent
PACKAGES = {"x86_64": "@cloudflare/workerd-linux-64", "aarch64": "@cloudflare/workerd-linux-arm64"}


class Workerd(Peer):
    name = "workerd"
    about = "Durable Object with WebSocket hibernation and SQLite on disk, history kept"

    def prepare(self) -> None:
        if self._binary.exists():
            return
        if shutil.which("npm") is None:
            raise Unavailable("workerd comes from npm, and npm is not installed")
        self._home.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, self._home)
        # The lock says what may be installed; the package's install script is not needed for the binary.
        install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(install, cwd=self._home, capture_output=True, text=True, check=False)
        if not self._binary.exists():
            raise Unavailable(f"npm could not install workerd: {done.stderr.strip()}")

    def version(self) -> str:
        said = subprocess.run([self._binary, "--version"], capture_output=True, text=True, check=True)
        return said.stdout.strip()

    def launch(self) -> None:
        storage = self.scratch / "storage"
        storage.mkdir()
        self.spawn(
            *(self._binary, "serve", HERE / "config.capnp"),
            *(f"--socket-addr=http=127.0.0.1:{self.port}", f"--directory-path=storage={storage}"),
        )

    @property
    def _package(self) -> str:
        try:
            return PACKAGES[platform.machine()]
        except KeyError:
            raise Unavailable(f"there is no workerd for {platform.machine()}") from None

    @property
    def _home(self) -> Path:
        """Kept between runs, one directory for each pinned version."""
        pinned = json.loads((HERE / "package.json").read_text())["optionalDependencies"][self._package]
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cache / "durable-counters" / f"workerd-{pinned}"

    @property
    def _binary(self) -> Path:
        return self._home / "node_modules" / self._package / "bin" / "workerd"
