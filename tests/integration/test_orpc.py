"""A stock oRPC client, from the npm registry, against the running service."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "orpc"


@pytest.fixture(scope="module")
def node() -> str:
    """The node to run the calls with, its packages installed as the lock says."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are absent")
    lock = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()
    installed = FOLDER / "node_modules" / ".installed"
    if not installed.exists() or installed.read_text() != lock:
        run = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund"], cwd=FOLDER, capture_output=True, text=True, timeout=100
        )
        assert run.returncode == 0, run.stdout + run.stderr
        installed.write_text(lock)
    return node


def test_a_stock_client_makes_every_call(node, service):
    run = subprocess.run(
        [node, "--test-reporter=spec", "calls.mjs"],
        cwd=FOLDER,
        env=os.environ | {"COUNTERS_URL": service.url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
