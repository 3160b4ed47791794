"""What a run leaves behind: every repeat, the conditions it was made under, and the medians."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtests.bench.figures import medians


@dataclass(frozen=True)
class Run:
    """One play of one case on one peer."""

    repeat: int  # From 1.
    peer: str
    case: str
    figures: dict[str, float] = field(default_factory=dict)
    exact: bool | None = None
    remark: str = ""
    error: str = ""  # Why there are no figures.


@dataclass(frozen=True)
class PeerInfo:
    name: str
    about: str
    version: str
    unavailable: str = ""  # Why it was not measured.


@dataclass(frozen=True)
class CaseInfo:
    name: str
    about: str
    headline: str


@dataclass(frozen=True)
class Conditions:
    """Everything that has to be known to make the run again, or to doubt it."""

    started_at: str
    command: str
    seconds: float
    repeats: int
    quick: bool
    machine: dict[str, Any]


@dataclass(frozen=True)
class Results:
    conditions: Conditions
    peers: list[PeerInfo]
    cases: list[CaseInfo]
    runs: list[Run]

    def of(self, case: str, peer: str) -> list[Run]:
        return [run for run in self.runs if run.case == case and run.peer == peer]

    def medians(self, case: str, peer: str) -> dict[str, float]:
        """The figures of one column of one table; empty if the peer has none."""
        return medians([run.figures for run in self.of(case, peer) if not run.error])

    def exact(self, case: str, peer: str) -> bool | None:
        """Whether every repeat was exact; None where that does not apply."""
        verdicts = [run.exact for run in self.of(case, peer) if run.exact is not None]
        return all(verdicts) if verdicts else None

    def faults(self) -> list[Run]:
        """The runs that failed or were not exact."""
        return [run for run in self.runs if run.error or run.exact is False]

    def save(self, path: Path) -> None:
        table = {
            case.name: {peer: found for peer in self._measured() if (found := self.medians(case.name, peer))}
            for case in self.cases
        }
        path.write_text(json.dumps({**asdict(self), "medians": table}, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        saved = json.loads(path.read_text())
        return cls(
            Conditions(**saved["conditions"]),
            [PeerInfo(**peer) for peer in saved["peers"]],
            [CaseInfo(**case) for case in saved["cases"]],
            [Run(**run) for run in saved["runs"]],
        )

    def _measured(self) -> Iterable[str]:
        return [peer.name for peer in self.peers if not peer.unavailable]
