"""The books: what was acknowledged to the users, against what the service says in the end.

Every user writes down what each operation changed, as its answer says. What has no answer may or may not have
happened: it widens the range in which the final value has to lie. Whoever listens writes down whether an event was
missing or came twice.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

NAMES_MAX = 1_000  # In one question.
SHOWN_MAX = 10  # Of what is wrong; the rest is counted.


@dataclass
class Account:
    """Of one counter, which began at 0."""

    acknowledged: int = 0  # Sum of all changes that were answered.
    operations: int = 0  # How many those were.
    unknown: int = 0  # Operations without an answer.
    least: int = 0  # What those may have changed: the sum of the decrements among them,
    most: int = 0  # and of the increments.

    def holds(self, value: int) -> bool:
        """Whether the counter may end with `value`."""
        return self.acknowledged + self.least <= value <= self.acknowledged + self.most

    def __iadd__(self, other: Account) -> Account:
        for name, number in asdict(other).items():
            setattr(self, name, getattr(self, name) + number)
        return self


@dataclass
class Ledger:
    """Of all users of a process, or of all processes."""

    accounts: dict[str, Account] = field(default_factory=dict)
    events: int = 0  # Heard.
    stand_ins: int = 0  # Of those, snapshots and events that stand for several.
    gaps: int = 0  # Events before which some were missing.
    repeats: int = 0  # Events that were heard before.

    def account(self, counter: str) -> Account:
        return self.accounts.setdefault(counter, Account())

    def acknowledge(self, counter: str, change: int) -> None:
        """An operation was answered, and its answer says that it changed the counter by so much."""
        account = self.account(counter)
        account.operations += 1
        account.acknowledged += change

    def lose(self, counter: str, change: int) -> None:
        """An operation that was to change the counter by so much has no answer."""
        account = self.account(counter)
        account.unknown += 1
        account.least += min(0, change)
        account.most += max(0, change)

    def packed(self) -> dict[str, Any]:
        """As a message from one process to another."""
        return asdict(self)

    def add(self, packed: Mapping[str, Any]) -> None:
        """Add the books of another process."""
        for counter, numbers in packed["accounts"].items():
            account = self.account(counter)
            account += Account(**numbers)
        for name in ("events", "stand_ins", "gaps", "repeats"):
            setattr(self, name, getattr(self, name) + packed[name])


@dataclass
class Heard:
    """How far a listener has come with the events of its counter."""

    life: int = 0  # metadata.id of the counter; 0: it was never written.
    last: int | None = None  # operationCount of the last event.

    @property
    def since(self) -> dict[str, object]:
        """What to ask for when listening begins, or begins again: nothing missed, nothing twice."""
        if self.last is None:
            return {"snapshot": 1}
        return {"since": self.last, "life": self.life} if self.life else {"since": self.last}

    def hear(self, ledger: Ledger, life: int, seq: int, stands_in: bool) -> None:
        """An event came, which `stands_in` for several, or follows the one before. The first is always right."""
        ledger.events += 1
        last = self.last
        if last is not None:
            if stands_in:
                ledger.stand_ins += 1
            elif seq <= last:
                ledger.repeats += 1
            elif seq > last + 1:
                ledger.gaps += 1
        self.life, self.last = life, max(seq, last or 0)


@dataclass
class Finding:
    """What the books say."""

    lines: list[str]
    wrong: list[str]

    @property
    def exact(self) -> bool:
        return not self.wrong

    def __str__(self) -> str:
        shown = [f"WRONG  {each}" for each in self.wrong[:SHOWN_MAX]]
        more = len(self.wrong) - len(shown)
        rest = [f"WRONG  and {more} more"] if more > 0 else []
        return "\n".join([*self.lines, *shown, *rest, "exact" if self.exact else "not exact"])


def check(ledger: Ledger, values: Mapping[str, int], silent: Iterable[str] = ()) -> Finding:
    """Compare. `silent` are processes whose books are missing."""
    accounts = ledger.accounts
    wrong = [f"the books of {process} are missing" for process in silent]
    for counter, account in sorted(accounts.items()):
        value = values.get(counter)
        if value is None or not account.holds(value):
            least, most = account.acknowledged + account.least, account.acknowledged + account.most
            wanted = str(least) if least == most else f"{least} to {most}"
            wrong.append(f"{counter}: acknowledged {wanted}, the service says {value}")
    if ledger.gaps:
        wrong.append(f"{ledger.gaps} events were not preceded by the ones before them")
    if ledger.repeats:
        wrong.append(f"{ledger.repeats} events came twice")
    operations = sum(account.operations for account in accounts.values())
    unknown = sum(account.unknown for account in accounts.values())
    lines = [
        f"{operations:,} operations on {len(accounts):,} counters were acknowledged, {unknown:,} have no answer",
        f"{ledger.events:,} events were heard, {ledger.stand_ins:,} of them in place of several",
    ]
    return Finding(lines, wrong)


def values_of(base: str, counters: Iterable[str], post: Callable[[str, bytes], bytes] | None = None) -> dict[str, int]:
    """What the service at `base` says these counters stand at."""
    names = sorted(counters)
    values: dict[str, int] = {}
    for start in range(0, len(names), NAMES_MAX):
        body = json.dumps({"names": names[start : start + NAMES_MAX]}).encode()
        values |= json.loads((post or _post)(f"{base.rstrip('/')}/rpc/counter.getValues", body))["values"]
    return values


def _post(url: str, body: bytes) -> bytes:
    request = urllib.request.Request(url, body, {"content-type": "application/json"}, method="POST")
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: bytes = response.read()
        return answer
