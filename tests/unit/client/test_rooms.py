"""The client stands alone, and its core decides without sockets, clock and chance."""

from __future__ import annotations

from pathlib import Path

from tests.unit.test_rooms import CORE_MAY_NOT_CALL, MAY_IMPORT, OUTSIDE, ROOT, Module, time, within

FOLDER = ROOT / "clients" / "python"
CORE = "counters_client/core/"
MAY_IMPORT_IN_CORE = {"__future__", "collections", "dataclasses", "datetime", "enum", "http"} | {
    "itertools", "msgspec", "re", "typing", "counters_client.core", "counters_client.errors", "counters_client.records"
}  # fmt: skip


def modules() -> list[Module]:
    files = sorted(FOLDER.glob("counters_client/**/*.py"))
    return [Module(file.relative_to(FOLDER).as_posix(), file.read_text()) for file in files]


def imported(module: Module) -> list[str]:
    return [name for name in module.imports if name != "__future__.annotations"]


def test_it_knows_nothing_of_the_service() -> None:
    rooms = MAY_IMPORT.keys() | OUTSIDE
    assert [name for each in modules() for name in imported(each) if name.split(".")[0] in rooms] == []


def test_the_core_is_pure() -> None:
    found = []
    cores = [each for each in modules() if each.path.startswith(CORE)]
    assert len(cores) > 5
    for each in cores:
        found += [name for name in imported(each) if not any(within(name, one) for one in MAY_IMPORT_IN_CORE)]
        found += [f"{each.path} uses {name}" for name in each.mentions() & CORE_MAY_NOT_CALL]
        found += time(each)
        assert not each.waits(), each.path
    assert found == []


def test_nothing_in_the_service_needs_it() -> None:
    files = (file for room in MAY_IMPORT for file in Path(ROOT / room).rglob("*.py"))
    assert [str(file) for file in files if "counters_client" in file.read_text()] == []
