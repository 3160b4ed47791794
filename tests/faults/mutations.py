"""Do the tests notice? One promise is broken at a time, in a copy of the tree, and some test has to fail.

    python -m tests.faults.mutations
    python -m tests.faults.mutations --only epoch

First the quick suites; only what they let through is put under load and killed. Exits with 1 when a mutation survives.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "data", "*.egg-info")
QUICK = ("tests/unit", "tests/contract", "tests/sim")
NOT_CONCERNED = ("test_bench.py", "test_commands.py", "test_ray_cluster.py", "test_rooms.py")
TIMEOUT_S = 600
SHOWN = 4  # Failing tests named for each mutation.

_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


class Mutation(NamedTuple):
    """One promise broken: in `file`, every occurrence of `text` becomes `instead`."""

    name: str
    file: str
    text: str
    instead: str


MUTATIONS = (
    # What is not durable is not told.
    Mutation("results leave before the commit", "actors/host.py", "fenced = await pending", "pass"),
    Mutation(
        "a failed commit is ignored", "actors/host.py", "round.abandon(Status.UNAVAILABLE)", "round.settle(fenced)"
    ),
    Mutation(
        "memory survives a failed commit",
        "actors/round.py",
        "        for name in {**self._touched, **self._moved}:\n"
        "            self._drop(name, Event.LOST)\n        self._forget()",
        "        self._forget()",
    ),
    # Only the owner writes.
    Mutation(
        "a stale epoch may write", "storage/statements.py", " AND counter.epoch = new.epoch RETURNING", " RETURNING"
    ),
    Mutation("the epoch does not grow", "storage/statements.py", "epoch = counter.epoch + 1", "epoch = counter.epoch"),
    Mutation(
        "operations of a fenced counter are kept",
        "storage/sqlite.py",
        "operations = [row for row in operations if row.counter_id not in fenced]",
        "pass",
    ),
    Mutation(
        "a fenced operation is answered as done",
        "actors/round.py",
        'answerer.answer(tag, Status.MOVED, b"")',
        "answerer.answer(tag, status, body)",
    ),
    Mutation(
        "events of a fenced counter leave",
        "actors/round.py",
        "if burst.counter_id not in fenced]",
        "if burst.counter_id is not None]",
    ),
    Mutation(
        "a counter that moved is kept",
        "actors/residents.py",
        "        self._drop(leaving)",
        "        leaving.clear()",
    ),
    Mutation(
        "a table that is out of date may claim", "storage/statements.py", "WHERE counter.placed <= excluded.placed ", ""
    ),
    # Once for each id.
    Mutation(
        "a repeated operation is not looked up",
        "actors/host.py",
        "for _, each in calls if each.repeated or each.name in missing]",
        "for _, each in calls if False]",
    ),
    Mutation(
        "a like of an earlier life is applied again",
        "actors/round.py",
        "            done = answered(counter, operation.type, member, operation.id)",
        "            done = None",
    ),
    Mutation("what was taken for new is not looked up", "actors/round.py", "if new and store.seen(new):", "if False:"),
    Mutation("an older link goes on", "actors/host.py", "if each.number < link.number:", "if False:"),
    Mutation(
        "a repetition within a round is applied again",
        "actors/core/counter.py",
        "answer = self._answers.get(operation_id)",
        "answer = None",
    ),
    Mutation(
        "an id may be used for another operation",
        "actors/core/counter.py",
        "if (answer.type, answer.amount) != (type, amount):",
        "if False:",
    ),
    Mutation(
        "what is sent again is not marked",
        "actors/router.py",
        "call.message.repeated = True",
        "call.message.repeated = False",
    ),
    Mutation(
        "a lost link takes its calls along",
        "actors/router.py",
        "                self._homeless.append(call.message)",
        "                pass",
    ),
    # No gap, nothing twice.
    # A count from elsewhere takes nothing back.
    Mutation(
        "a sync loses what was added meanwhile",
        "actors/round.py",
        "wanted += self._added[activation.id, operation.since]",
        "pass",
    ),
    Mutation("a gap in the events passes", "gateway/hub.py", "if skip < 0:", "if False:"),
    Mutation("events pass twice", "gateway/hub.py", "skip = channel.seq + 1 - burst.seq", "skip = 0"),
    Mutation(
        "what was missed begins one too early", "storage/store.py", "OPERATION.c.seq > seq)", "OPERATION.c.seq >= seq)"
    ),
    Mutation(
        "what was missed begins one too late",
        "storage/store.py",
        "OPERATION.c.seq > seq)",
        "OPERATION.c.seq > seq + 1)",
    ),
)


class Outcome(NamedTuple):
    """What a suite said."""

    passed: bool
    failing: list[str]
    output: str


def copy_tree(target: Path) -> Path:
    """The tree without what was made from it."""
    shutil.copytree(ROOT, target, ignore=LEFT_OUT)
    return target


def mutate(tree: Path, mutation: Mutation) -> None:
    """Apply one mutation. Fails when there is nothing to apply it to."""
    path = tree / mutation.file
    text = path.read_text()
    assert mutation.text in text, f"{mutation.name}: {mutation.file} has no {mutation.text!r}"
    path.write_text(text.replace(mutation.text, mutation.instead))


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy, on the code of the copy."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def quick(tree: Path) -> Outcome:
    """The suites that need no service."""
    suites = [suite for suite in QUICK if list((tree / suite).glob("test_*.py"))]
    ignored = [f"--ignore=tests/unit/{name}" for name in NOT_CONCERNED]
    options = ["-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", f"--maxfail={SHOWN}", "--timeout=60"]
    done = run(tree, "-m", "pytest", *options, *ignored, *suites)
    output = done.stdout + done.stderr
    assert done.returncode in (0, 1), f"pytest could not run:\n{output}"
    return Outcome(done.returncode == 0, _FAILED.findall(output), output)


def under_load(tree: Path) -> Outcome:
    """Exactness with a few kills: the whole service of the copy."""
    done = run(tree, "-m", "tests.faults.exactness", "--kills", "2", "--counters", "50")
    wrong = [line for line in done.stdout.splitlines() if line.startswith("WRONG")] or done.stderr.splitlines()[-1:]
    return Outcome(done.returncode == 0, [] if done.returncode == 0 else wrong, done.stdout + done.stderr)


def judge(mutation: Mutation) -> bool:
    """Try one mutation; print and return whether it was caught."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = copy_tree(Path(folder) / "tree")
        mutate(tree, mutation)
        outcome, by = quick(tree), "the quick suites"
        if outcome.passed:
            outcome, by = under_load(tree), "exactness under load"
    verdict = "SURVIVED" if outcome.passed else f"caught by {by}"
    print(f"{mutation.name}: {verdict} ({time.monotonic() - began:.0f} s)", flush=True)
    for name in outcome.failing[:SHOWN]:
        print(f"    {name}", flush=True)
    return not outcome.passed


def check_the_copy() -> None:
    """Unbroken, the copy passes, and it is the copy that runs."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = copy_tree(Path(folder) / "tree")
        used = run(
            tree, "-c", "import actors, gateway, storage as s; print(actors.__file__, gateway.__file__, s.__file__)"
        )
        assert used.stdout.count(str(tree)) == 3, used.stdout + used.stderr
        outcome = quick(tree)
        assert outcome.passed, f"fails without any mutation:\n{outcome.output[-3000:]}"
        for mutation in MUTATIONS:
            assert mutation.text in (tree / mutation.file).read_text(), f"{mutation.name}: nothing to mutate"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="WORD", default="", help="mutations whose name has this in it")
    given = parser.parse_args()
    check_the_copy()
    chosen = [mutation for mutation in MUTATIONS if given.only in mutation.name]
    caught = sum(judge(mutation) for mutation in chosen)
    print(f"{caught} of {len(chosen)} mutations were caught")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
