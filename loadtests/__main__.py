"""`python -m loadtests`: locust, against a service that is started for it, or the one that COUNTERS_URL names.

Half a minute without a page, unless arguments of locust say otherwise; `--web` leaves the page on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtests.bench.peers.peer import Unavailable
from loadtests.service import raise_open_files, service

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
DEFAULTS = ("--users", "80", "--spawn-rate", "40", "--run-time", "30s")
WEB = "--web"


def main(arguments: Sequence[str]) -> int:
    """Locust's exit code."""
    signal.signal(signal.SIGTERM, _exit)  # As Ctrl-C: unwinds, so that the service is stopped.
    url = os.environ.get("COUNTERS_URL")
    if url:
        raise_open_files()
        return run(url, arguments)
    try:
        with service() as peer:
            return run(peer.base_url, arguments)
    except Unavailable as reason:
        print(f"loadtests: {reason}", file=sys.stderr)
        return 2


def run(url: str, arguments: Sequence[str]) -> int:
    """Put locust on the service at `url`. What `arguments` say twice, they say last."""
    mode = () if WEB in arguments else ("--headless", "--only-summary")
    rest = [argument for argument in arguments if argument != WEB]
    command = [sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--host", url, *mode, *DEFAULTS, *rest]
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:  # It went to locust, too, which has said its last word.
        return 130


def _exit(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
