"""Counters of a service that are counted in somebody else's database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.service_clients import listening
from tests.support.service_process import Service, run_command, wait_for

EVER = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
BAD = {
    "none": ("SELECT 1 WHERE 0", "rows"),
    "two": ("SELECT 1 UNION SELECT 2", "rows"),
    "text": ("SELECT 'seven'", "value"),
    "null": ("SELECT NULL", "value"),
    "missing": ("SELECT count(*) FROM nobody", "query"),
    "long": (EVER, "timeout"),
}


class Shop:
    """Somebody else's database."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "shop.db"
        self.run("CREATE TABLE users (name TEXT)")
        self.grow(7)

    def run(self, statement: str, *rows: tuple[object, ...]) -> None:
        connection = sqlite3.connect(self.file)
        with connection:
            connection.executemany(statement, rows or [()])
        connection.close()

    def grow(self, count: int) -> None:
        self.run("INSERT INTO users VALUES (?)", *[(str(i),) for i in range(count)])

    def config(self) -> str:
        tables = [("total:users", self.url, "SELECT count(*) FROM users", "0 3 * * *", "5s")]
        tables += [(f"bad:{name}", self.url, query, "", "500ms") for name, (query, _) in BAD.items()]
        tables += [("bad:away", "postgresql://nobody:secret@127.0.0.1:1/x", "SELECT 1", "", "5s")]
        return "".join(
            f"[sources.{json.dumps(name)}]\ndatabase = {json.dumps(url)}\nquery = {json.dumps(query)}\n"
            f"schedule = {json.dumps(schedule)}\ntimeout = {json.dumps(timeout)}\n\n"
            for name, url, query, schedule, timeout in tables
        )

    @property
    def url(self) -> str:
        return f"sqlite:///{self.file}"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def service(shop: Shop) -> Iterator[Service]:
    config = shop.file.with_name("counters.toml")
    config.write_text(shop.config())
    with Service(config=config).start() as one:
        yield one
        assert one.stop() == 0


def ask(service: Service, procedure: str, **input: object) -> tuple[int, Any]:
    answer = httpx.post(f"{service.url}/rpc/{procedure}", json=input, timeout=60)
    return answer.status_code, answer.json()


def test_what_was_never_synced_is_at_once(service: Service) -> None:
    wait_for("the counter is made", lambda: service.call("getValue", {"name": "total:users"})["value"] == 7)
    [synced] = service.call("getHistory", {"name": "total:users"})
    assert (synced["operation"], synced["reason"]) == ("setValue(7)", "sync")


def test_drift_and_sync(service: Service, shop: Shop) -> None:
    wait_for("the first sync", lambda: service.call("getValue", {"name": "total:users"})["value"])
    shop.grow(3)
    before = service.call("getValue", {"name": "total:users"})["value"]
    said = {"name": "total:users", "value": before, "actual": before + 3, "difference": 3}
    assert ask(service, "counter.drift", name="total:users") == (200, said)
    with listening(service, "total:users") as one:
        synced = {"oldCount": before, "newCount": before + 3, "difference": 3}
        assert ask(service, "counter.sync", name="total:users") == (200, synced)
        event = one.hear()
        assert (event["type"], event["reason"], event["value"]) == ("setValue", "sync", before + 3)
        assert ask(service, "counter.sync", name="total:users")[1]["difference"] == 0
        assert one.silent()
    assert ask(service, "counter.sync", name="total:users", actual=before + 3)[1]["difference"] == 0


def test_many_totals_in_one_call(service: Service) -> None:
    service.call("increment", {"name": "seen", "amount": 4})
    metadata = service.call("getMetadata", {"name": "seen"})
    status, said = ask(service, "stats.get", names=["seen", "never"])
    assert (status, said) == (200, {"stats": {
        "seen": {"value": 4, "lastIncrementAt": metadata["updatedAt"]}, "never": {"value": 0, "lastIncrementAt": None},
    }})  # fmt: skip
    assert ask(service, "stats.get", names=["no spaces"])[0] == 400


@pytest.mark.parametrize("name", [*BAD, "away"])
def test_a_source_that_gives_no_number(service: Service, name: str) -> None:
    reason = BAD[name][1] if name in BAD else "unreachable"
    service.call("setValue", {"name": f"bad:{name}", "value": 5})
    for procedure in ("counter.sync", "counter.drift"):
        status, said = ask(service, procedure, name=f"bad:{name}")
        assert (status, said["error"]["code"], said["error"]["data"]) == (502, "SOURCE_FAILED", {"reason": reason})
        assert not said["error"]["retryable"] and "secret" not in said["error"]["message"]
    assert service.call("getValue", {"name": f"bad:{name}"})["value"] == 5


def test_a_counter_without_a_source(service: Service) -> None:
    status, said = ask(service, "counter.sync", name="seen")
    assert (status, said["error"]["data"]["field"]) == (400, "actual")


def test_the_commands(service: Service, shop: Shop) -> None:
    wait_for("the first sync", lambda: service.call("getValue", {"name": "total:users"})["value"])
    shop.grow(1)
    drift = run_command("drift", "total:users", "--url", service.url)
    assert (drift.returncode, drift.stdout.split()[-1]) == (0, "1")
    assert run_command("sync", "total:users", "--url", service.url).returncode == 0
    every = run_command("sync", "--all", "--url", service.url)
    assert (every.returncode, every.stdout.split()[0], every.stdout.split()[-1]) == (1, "total:users", "0")
    assert every.stderr.count("SOURCE_FAILED: bad:") == len(BAD) + 1
    assert run_command("sync", "--url", service.url).returncode == 2


def test_what_is_found_is_told(service: Service) -> None:
    wait_for("the first sync", lambda: service.call("getValue", {"name": "total:users"})["value"])
    _, said = ask(service, "stats.listSources")
    listed = {each["name"]: each for each in said["sources"]}
    assert listed["total:users"]["syncedAt"] is not None and listed["total:users"]["schedule"] == "0 3 * * *"
    assert "query" not in listed["total:users"]
    page = httpx.get(f"{service.url}/metrics").text
    assert "# TYPE counters_drift gauge" in page and 'counters_drift{name="total:users"} ' in page
    assert 'counters_resident{host="host:0"} ' in page
    assert "secret" not in service.log.read_text()
