"""A disk of a few megabytes: a tmpfs, which only root may mount."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ABSENT = "only root may mount a small disk here"


class SmallDisk:
    """A folder that can be full, or only be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave not one byte."""
        with self._ballast.open("wb", buffering=0) as file:
            for size in (65_536, 4_096, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"x" * size):
                        pass

    def make_room(self) -> None:
        """Take back what filled it."""
        self._ballast.unlink()

    def only_read(self, so: bool) -> None:
        """Nobody may have a file open for writing."""
        subprocess.run(["mount", "-o", f"remount,{'ro' if so else 'rw'}", self.folder], check=True, capture_output=True)


@contextmanager
def small_disk(megabytes: int = 4) -> Iterator[SmallDisk]:
    """Mounted for as long as the block lasts. Raises PermissionError where that is not allowed."""
    if os.geteuid() != 0:
        raise PermissionError(errno.EPERM, ABSENT)
    folder = Path(tempfile.mkdtemp(prefix="disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
    try:
        if subprocess.run(mount, capture_output=True).returncode != 0:
            raise PermissionError(errno.EPERM, ABSENT)
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], capture_output=True)
        folder.rmdir()
