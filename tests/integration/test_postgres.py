"""`counters serve` on Postgres: what it writes outlives the service, the database server may restart, and mistakes are
said in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.hammer_audit import Stored, read_database
from tests.support.postgres import needs_postgres
from tests.support.postgres_server import PostgresServer
from tests.support.service_process import Service, free_port, run_command

NewService = Callable[..., Service]
pytestmark = needs_postgres


def test_a_service_on_postgres_from_its_first_operation_to_its_second_life(new_service: NewService) -> None:
    with PostgresServer(flushed=True) as server:
        url = server.start().new_database()
        service = new_service(database=url, hosts=2).start()
        assert service.call("increment", {"name": "votes", "amount": 5}, key="a")["value"] == 5
        assert service.call("increment", {"name": "votes", "amount": 5}, key="a")["value"] == 5
        service.call("configure", {"name": "seats", "policy": {"initial": 7}})
        server.kill()
        server.start()
        # The gateway asks again until the hosts have connected anew.
        assert service.call("increment", {"name": "votes"}, key="b")["value"] == 6
        assert service.call("increment", {"name": "seats"})["value"] == 8
        assert service.stop() == 0
        assert not (service.data_dir / "counters.db").exists()
        service.start()
        assert service.call("increment", {"name": "votes"}, key="b")["value"] == 6
        assert read_database(url) == {"votes": Stored(6, 2, 2, 2, 2), "seats": Stored(8, 1, 1, 1, 1)}
        history = service.call("getHistory", {"name": "votes"})
        assert [item["operation"] for item in history] == ["increment(1)", "increment(5)"]
        service.call("delete", {"name": "votes"})
        assert service.call("getValues", {"names": ["votes", "seats"]})["values"] == {"votes": 0, "seats": 8}
        assert service.stop() == 0
        assert "let" not in service.log.read_text(), "the password is in the log"


@pytest.mark.parametrize(
    ("change", "named"),
    [(("let%20me%20in", "wrong"), "password authentication failed"), (("/test", "/missing"), "does not exist")],
)
def test_what_is_wrong_with_the_database_is_one_clear_line(
    tmp_path: Path, postgres_url: str, change: tuple[str, str], named: str
) -> None:
    url = postgres_url.replace(*change)
    run = run_command("serve", "--port", str(free_port()), "--data-dir", tmp_path / "data", "--database", url)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.count("\n") == 1, run.stderr
    assert named in run.stderr
    assert "wrong@" not in run.stderr
