"""The clients under test: how to start the driver of each, and what it lacks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.node import node, run_in
from tests.support.service_process import ROOT

DRIVERS = Path(__file__).parent / "drivers"
JS = ROOT / "clients" / "js"


@dataclass(frozen=True)
class Client:
    """`command` takes a folder for what has to be built. `lacks`: what scenarios may need, and this one has not."""

    command: Callable[[Path], Sequence[str]]
    lacks: frozenset[str] = frozenset()


def python(_: Path) -> Sequence[str]:
    """The driver of the Python client."""
    return (sys.executable, "-m", "tests.conformance.drivers.python_driver")


def javascript(folder: Path) -> Sequence[str]:
    """The driver of the JavaScript client, bundled into one file. Skips where there is no node."""
    binary = node(JS)
    built = folder / "js_driver.mjs"
    bundler = (JS / "node_modules" / ".bin" / "esbuild", DRIVERS / "js_driver.ts")
    flags = ("--bundle", "--platform=node", "--format=esm", f"--outfile={built}", "--log-level=warning", REQUIRE)
    run = run_in(ROOT, *bundler, *flags, NODE_PATH=os.fspath(JS / "node_modules"))
    assert run.returncode == 0, run.stdout + run.stderr
    return (binary, os.fspath(built))


# What is bundled from CommonJS wants `require`, which a module has not by itself.
REQUIRE = "--banner:js=import{createRequire}from'node:module';const require=createRequire(import.meta.url);"

CLIENTS = {
    "python": Client(python),
    # A browser does not let a page see why a handshake failed.
    "javascript": Client(javascript, frozenset({"handshake"})),
}
