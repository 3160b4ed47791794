"""The example of a bot, as a user runs it: it is killed, and goes on where it was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.service_process import ROOT, Service, environment, wait_for

BOT = ROOT / "examples" / "poll_bot.py"


@contextmanager
def running(service: Service, folder: Path, *names: str) -> Iterator[subprocess.Popen[str]]:
    started = environment(COUNTERS_URL=service.url)
    with subprocess.Popen(
        [sys.executable, str(BOT), *names], cwd=folder, env=started, stdout=subprocess.PIPE, text=True
    ) as bot:
        try:
            yield bot
        finally:
            bot.kill()


def says(bot: subprocess.Popen[str]) -> str:
    """What it reports next, without the number."""
    assert bot.stdout is not None
    return bot.stdout.readline().partition(". ")[2].strip()


def test_it_reports_each_change_of_the_lead_once(service: Service, counter: str, tmp_path: Path) -> None:
    red, blue = f"{counter}-red", f"{counter}-blue"
    service.call("increment", {"name": red})
    with running(service, tmp_path, red, blue) as bot:
        assert says(bot) in (f"{red} leads with 1", f"{blue} leads with 0")
        service.call("increment", {"name": blue, "amount": 5})
        lines = [says(bot)]
        while lines[-1] != f"{blue} leads with 5":
            lines.append(says(bot))
        wait_for("it is kept", lambda: json.loads((tmp_path / "poll.json").read_text())["leader"] == blue)
    service.call("increment", {"name": red, "amount": 8})
    with running(service, tmp_path, red, blue) as bot:
        assert says(bot) == f"{red} leads with 9"


def test_without_names_it_says_what_it_wants(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(BOT)], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=20
    )
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1)
    assert "red green blue" in run.stderr
