"""The machine a run was made on, as far as it explains the figures."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

LIBRARIES = ("ray", "starlette", "uvicorn", "uvloop", "httptools", "websockets", "msgspec", "redis", "picows")
FSYNC_ROUNDS = 200


def describe(scratch: Path) -> dict[str, Any]:
    """Hardware, kernel, versions and the price of a write; takes about 0.1 s."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libraries": ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES),
        "filesystem": _filesystem(scratch),
        # Every durable answer contains at least one of these, whoever gives it.
        "fsync_ms": round(_fsync_ms(scratch), 3),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _filesystem(directory: Path) -> str:
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    resolved = directory.resolve()
    return next((mounts[path] for path in (resolved, *resolved.parents) if path in mounts), "unknown")


def _fsync_ms(directory: Path) -> float:
    """Median time to append 4 KiB and have it on the disk."""
    times_ms = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(FSYNC_ROUNDS):
            start = time.perf_counter()
            os.write(file.fileno(), bytes(4096))
            os.fdatasync(file.fileno())
            times_ms.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times_ms)
