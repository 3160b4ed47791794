"""Node.js packages for tests: installed as their lock says, once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def node(folder: Path) -> str:
    """The node to run what is in `folder` with, after its packages were installed. Skips where there is no node."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are absent")
    lock = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    installed = folder / "node_modules" / ".installed"
    if not installed.exists() or installed.read_text() != lock:
        run = run_in(folder, npm, "ci", "--no-audit", "--no-fund", timeout=200)
        assert run.returncode == 0, run.stdout + run.stderr
        installed.write_text(lock)
    return node


def run_in(folder: Path, *command: str | Path, timeout: float = 60, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder` to its end; `more` goes into its environment."""
    environment = {**os.environ, "NO_COLOR": "1", **more}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)
