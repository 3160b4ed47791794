"""A service moves: exported while it runs, imported, and another one goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.service_process import Service, run_command

NewService = Callable[..., Service]


def test_a_service_goes_on_from_what_another_has_exported(new_service: NewService, tmp_path: Path) -> None:
    first = new_service().start()
    votes = first.call("increment", {"name": "votes", "amount": 5}, key="a")
    first.call("increment", {"name": "votes"}, key="b")
    first.call("configure", {"name": "seats", "policy": {"initial": 7, "reset_after": 3600}})
    first.call("increment", {"name": "seats"})
    first.call("setAlarm", {"name": "seats", "operation": {"type": "reset"}, "id": "noon", "every": 3600})
    file = tmp_path / "all.jsonl"
    export = run_command("export", file, "--history", "--database", first.database)
    assert export.returncode == 0, export.stderr
    assert first.stop() == 0
    second = new_service()
    load = run_command("import", file, "--database", second.database)
    assert (load.returncode, load.stderr) == (0, ""), load.stderr
    second.start()
    again = second.call("increment", {"name": "votes", "amount": 5}, key="a")
    assert {**again, "metadata": {**again["metadata"], "id": votes["metadata"]["id"]}} == votes
    assert second.call("increment", {"name": "votes"}, key="c")["value"] == 7
    history = second.call("getHistory", {"name": "votes"})
    assert [item["operation"] for item in history] == ["increment(1)", "increment(1)", "increment(5)"]
    metadata = second.call("getMetadata", {"name": "seats"})
    assert (metadata["value"], metadata["policy"]["reset_after"]) == (8, 3600)
    assert [alarm["id"] for alarm in second.call("listAlarms", {"name": "seats"})["alarms"]] == ["noon"]
    due = second.call("listDue", {})["due"]
    assert {(each["name"], each.get("id")) for each in due} == {("seats", None), ("seats", "noon")}, due
    assert second.stop() == 0
