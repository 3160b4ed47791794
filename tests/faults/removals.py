"""What each guarantee is good for: it is taken out of a copy of the tree, and hosts of that are killed and stopped.

    python -m tests.faults.removals
    python -m tests.faults.removals --only fencing

Prints a table of what breaks. Exits with 1 when something is taken out and nothing breaks, or when something breaks
although nothing was taken out.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.faults.mutations import Mutation, copy_tree, mutate, run

SHOWN = 3  # Lines for each run.
TIMED = ("operations that failed",)  # A busy machine misses that by itself, and whatever is not an exact count.

RUNS: Mapping[str, tuple[str, ...]] = {
    "failover": ("--quick", "--rounds", "10", "--rate", "1000", "--burst", "10"),
    "freeze": ("--quick", "--rounds", "3", "--rate", "1000"),
}


class Removal(NamedTuple):
    """A guarantee, and everything in the tree that gives it."""

    guarantee: str
    mutations: tuple[Mutation, ...]


def _out(file: str, text: str, instead: str) -> Mutation:
    return Mutation(f"{file} without {text!r}", file, text, instead)


REMOVALS = (
    Removal("nothing", ()),
    Removal(
        "fencing: storage writes for whoever asks",
        (
            _out("storage/statements.py", " AND counter.epoch = new.epoch RETURNING", " RETURNING"),
            _out("storage/statements.py", "WHERE counter.placed <= excluded.placed ", ""),
            _out("storage/store.py", "if (row[0], row[1]) in wanted", ""),
            # Else the keys of the history would still refuse what another owner has written before.
            _out("storage/statements.py", "INSERT INTO operation", "INSERT OR REPLACE INTO operation"),
        ),
    ),
    Removal("gap detection: a gateway passes on what comes", (_out("gateway/hub.py", "if skip < 0:", "if False:"),)),
    Removal(
        "retry ids: what is sent again is applied again",
        (
            _out(
                "actors/host.py",
                "for _, each in calls if each.repeated or each.name in missing]",
                "for _, each in calls if False]",
            ),
            _out("actors/round.py", "if new and store.seen(new):", "if False:"),
            _out("actors/core/counter.py", "answer = self._answers.get(operation_id)", "answer = None"),
            _out("storage/tables.py", '        UniqueConstraint("operation_id", "counter_id"),\n', ""),
        ),
    ),
)

_MISSED = re.compile(r"^MISS +(.*?) {2,}(.*)$", re.MULTILINE)


def judge(removal: Removal) -> bool:
    """Take it out, run, print what breaks. Returns whether that is what has to be."""
    broken = False
    print(f"without {removal.guarantee}", flush=True)
    with tempfile.TemporaryDirectory(prefix="removal-") as folder:
        tree = copy_tree(Path(folder) / "tree")
        for mutation in removal.mutations:
            mutate(tree, mutation)
        for command, sizes in RUNS.items():
            done = run(tree, "-m", f"tests.faults.{command}", *sizes)
            found = [
                f"{title}: {figures.split('  ')[0]}"
                for title, figures in _MISSED.findall(done.stdout)
                if "exactly" in figures and title not in TIMED
            ]
            if done.returncode not in (0, 1) or "Traceback" in done.stderr:
                found.append(done.stderr.strip().splitlines()[-1][:160])
            broken |= bool(found)
            for line in found[:SHOWN] or ["keeps its bars"]:
                print(f"    {command:<10} {line}", flush=True)
    return broken is bool(removal.mutations)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="WORD", default="", help="guarantees that have this in their names")
    given = parser.parse_args()
    judged = [judge(removal) for removal in REMOVALS if given.only in removal.guarantee]
    return 0 if all(judged) else 1


if __name__ == "__main__":
    sys.exit(main())
