"""The rooms and their arrows: gateway → actors → storage, a core that imports nothing, one reader of time,
one of the environment.

The constants are the rules. An exception is a file by name; one that is no longer needed fails, too.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Who may import whom. Everything may import its own room.
MAY_IMPORT = {"storage": set(), "actors": {"storage"}, "gateway": {"actors"}}

# Around the rooms; no room knows of them.
OUTSIDE = {"loadtests", "tests"}

# These put the rooms together, so they see all of them.
WIRING = {
    "gateway/serve.py", "gateway/database.py", "gateway/transfer/commands.py", "gateway/transfer/lines.py",
    "gateway/transfer/loading.py", "gateway/transfer/application.py",
}  # fmt: skip

# The rules of a counter: no waiting, no clock, no chance, no outside.
CORE = "actors/core/"
CORE_MAY_IMPORT = {"__future__", "collections", "dataclasses", "enum", "functools", "hashlib", "heapq", "re", "typing"}
CALENDAR = {"actors/core/schedule.py": {"cronsim", "datetime", "zoneinfo"}}  # It is told what time it is, too.
CORE_MAY_NOT_CALL = {"__import__", "breakpoint", "eval", "exec", "input", "open", "print"}

# The command line sleeps between two tries and reads where the service is; it is a client, not the service.
TIME = {
    "actors/clock.py",
    "gateway/commands/counters.py",
    "gateway/commands/hosts.py",
    "gateway/commands/service.py",
    "gateway/commands/watch.py",
}
ENVIRONMENT = {"gateway/config.py", "gateway/commands/arguments.py", "gateway/serve.py"}

NOW = {"datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"}
ENVIRON = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv"}


class Module:
    """One file: what it imports, what it calls and mentions, with every name spelled out in full."""

    def __init__(self, path: str, source: str) -> None:
        self.path = path
        self.room = path.split("/")[0]
        self.tree = ast.parse(source, path)
        self._package = path.removesuffix(".py").split("/")[:-1]
        self._alias: dict[str, str] = {}
        self.imports = list(self._read_imports())

    def _read_imports(self) -> Iterator[str]:
        for node in ast.walk(self.tree):
            match node:
                case ast.Import(names):
                    for name in names:
                        self._alias[name.asname or name.name.split(".")[0]] = (
                            name.name if name.asname else name.name.split(".")[0]
                        )
                        yield name.name
                case ast.ImportFrom(module, names, level):
                    inside = self._package[: len(self._package) - level + 1] if level else []
                    parent = ".".join([*inside, *([module] if module else [])])
                    for name in names:
                        self._alias[name.asname or name.name] = f"{parent}.{name.name}"
                        yield f"{parent}.{name.name}"
                case ast.Call(
                    ast.Name("__import__") | ast.Attribute(attr="import_module"),
                    [ast.Constant(str(name)), *_],
                ):
                    yield name

    def mentions(self) -> set[str]:
        """Every dotted name in the file, with the imports resolved: `dt.now` is `datetime.datetime.now`."""
        nodes = (node for node in ast.walk(self.tree) if isinstance(node, ast.Attribute | ast.Name))
        return {name for node in nodes if (name := self._dotted(node))} | set(self.imports)

    def _dotted(self, node: ast.expr) -> str | None:
        match node:
            case ast.Name(name):
                return self._alias.get(name, name)
            case ast.Attribute(value, attr):
                parent = self._dotted(value)
                return f"{parent}.{attr}" if parent else None
        return None

    def waits(self) -> bool:
        waiting = ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith | ast.Await
        return any(isinstance(node, waiting) for node in ast.walk(self.tree))


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def arrows(module: Module) -> Iterator[str]:
    if module.path in WIRING:
        return
    forbidden = (MAY_IMPORT.keys() | OUTSIDE) - MAY_IMPORT[module.room] - {module.room}
    for name in module.imports:
        if name.split(".")[0] in forbidden:
            yield f"{module.path} imports {name}: {module.room} may not"


def core(module: Module) -> Iterator[str]:
    if not module.path.startswith(CORE):
        return
    allowed = CORE_MAY_IMPORT | CALENDAR.get(module.path, set())
    for name in module.imports:
        if name.split(".")[0] not in allowed and not within(name, "actors.core"):
            yield f"{module.path} imports {name}: the core may not"
    for name in sorted(module.mentions() & CORE_MAY_NOT_CALL):
        yield f"{module.path} uses {name}: the core may not"
    if module.waits():
        yield f"{module.path} waits: the core may not"


def time(module: Module) -> Iterator[str]:
    for name in module.imports:
        if within(name, "time"):
            yield f"{module.path} imports {name}: only {sorted(TIME)} may"
    for name in sorted(module.mentions() & NOW):
        yield f"{module.path} uses {name}: only {sorted(TIME)} may"


def environment(module: Module) -> Iterator[str]:
    for name in sorted(module.mentions()):
        if any(within(name, one) for one in ENVIRON):
            yield f"{module.path} uses {name}: only {sorted(ENVIRONMENT)} may"


def complaints(path: str, source: str) -> list[str]:
    module = Module(path, source)
    found = [*arrows(module), *core(module)]
    if path not in TIME:
        found += time(module)
    if path not in ENVIRONMENT:
        found += environment(module)
    return found


def files() -> list[str]:
    found = (file for room in MAY_IMPORT for file in (ROOT / room).rglob("*.py"))
    return sorted(file.relative_to(ROOT).as_posix() for file in found)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_no_arrow_points_up(room):
    mine = [path for path in files() if path.startswith(f"{room}/")]
    assert mine, f"{room} is empty"
    assert [line for path in mine for line in complaints(path, (ROOT / path).read_text())] == []


@pytest.mark.parametrize("path", sorted(WIRING | TIME | ENVIRONMENT))
def test_no_exception_outlives_its_need(path):
    assert (ROOT / path).exists(), "no such file"
    module = Module(path, (ROOT / path).read_text())
    if path in WIRING:
        assert any(name.split(".")[0] in {"storage", *OUTSIDE} for name in module.imports), "no wiring here"
    if path in TIME:
        assert list(time(module)), "reads no clock"
    if path in ENVIRONMENT:
        assert list(environment(module)), "reads no environment"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("storage/store.py", "import actors"),
        ("storage/store.py", "from actors.core import counter"),
        ("storage/store.py", "from ..gateway import config"),
        ("storage/store.py", "def late():\n    import gateway.app"),
        ("storage/store.py", "if TYPE_CHECKING:\n    from actors.messages import Operation"),
        ("storage/store.py", "importlib.import_module('actors.stub')"),
        ("storage/store.py", "import loadtests.verify"),
        ("actors/host.py", "from gateway import protocol"),
        ("actors/host.py", "from tests.support import loop"),
        ("actors/__init__.py", "from ..gateway import protocol"),
        ("gateway/app.py", "from storage import store"),
        ("gateway/app.py", "import storage.records as records"),
        ("gateway/cli.py", "from storage import migrate"),
        ("actors/core/counter.py", "import time"),
        ("actors/core/counter.py", "import asyncio"),
        ("actors/core/counter.py", "import ray"),
        ("actors/core/counter.py", "from random import randint"),
        ("actors/core/counter.py", "import os.path"),
        ("actors/core/counter.py", "from datetime import datetime"),
        ("actors/core/counter.py", "from storage import records"),
        ("actors/core/counter.py", "from actors import messages"),
        ("actors/core/counter.py", "from actors.messages import Operation"),
        ("actors/core/counter.py", "from ..messages import Operation"),
        ("actors/core/counter.py", "from .. import messages"),
        ("actors/core/counter.py", "async def wait(): ..."),
        ("actors/core/counter.py", "open('state')"),
        ("actors/core/deep/rules.py", "import time"),
        ("actors/host.py", "import time"),
        ("actors/host.py", "from time import monotonic"),
        ("storage/store.py", "import datetime\ndatetime.datetime.now()"),
        ("storage/store.py", "import datetime as d\nd.datetime.now(d.UTC)"),
        ("storage/store.py", "from datetime import datetime as dt\nclock = dt.utcnow"),
        ("gateway/app.py", "from datetime import date\ndate.today()"),
        ("actors/runtime.py", "import os\nos.environ['X']"),
        ("actors/runtime.py", "import os as system\nsystem.environ.get('X')"),
        ("actors/runtime.py", "from os import environ"),
        ("gateway/app.py", "from os import getenv as env\nenv('X')"),
    ],
)
def test_a_broken_rule_is_noticed(path, source):
    assert complaints(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("gateway/app.py", "from actors import stub\nfrom . import config\nimport gateway.errors"),
        ("gateway/serve.py", "from storage import migrate"),
        ("actors/host.py", "import storage\nfrom storage.records import Snapshot\nfrom .core import counter"),
        ("actors/host.py", "import actorsystem, timeit, gatewayd"),
        ("actors/core/counter.py", "from __future__ import annotations"),
        ("actors/core/counter.py", "import enum\nfrom collections.abc import Iterator"),
        ("actors/core/counter.py", "from . import policy\nfrom .policy import Policy"),
        ("actors/core/counter.py", "from actors.core.likes import Likes"),
        ("actors/core/deep/rules.py", "from .. import policy\nfrom ..policy import Policy"),
        ("actors/core/counter.py", "def receive(self, now): self.time = now.time"),
        ("actors/clock.py", "import time\nfrom datetime import datetime, UTC\ndatetime.now(UTC)"),
        ("storage/store.py", "from datetime import UTC, datetime\ndatetime.fromtimestamp(0, UTC)"),
        ("storage/store.py", "def commit(clock): return clock.now()"),
        ("storage/engine.py", "import os\nos.path.join('a', 'b')\nos.fsync(3)"),
        ("gateway/config.py", "import os\nos.environ['X']"),
    ],
)
def test_a_kept_rule_is_left_alone(path, source):
    assert complaints(path, source) == []
