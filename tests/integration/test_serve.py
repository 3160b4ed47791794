"""`counters serve` from its first line to its last: what it says, what it refuses, what it leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from counters_client import SyncCounterClient
from tests.support.service_clients import Bare, listening
from tests.support.service_process import ROOT, Service, command, environment, free_port, run_command, wait_for

NewService = Callable[..., Service]
KINDS = ("gateway", "host", "supervisor")


def test_a_port_in_use_is_one_clear_line_and_code_1(service: Service, tmp_path: Path) -> None:
    began = time.monotonic()
    run = run_command("serve", "--port", str(service.port), "--data-dir", tmp_path / "data")
    assert time.monotonic() - began < 5
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.count("\n") == 1
    assert f"127.0.0.1:{service.port}" in run.stderr
    assert "--port" in run.stderr
    assert service.ready()


def test_of_two_that_start_at_once_on_one_port_one_does(new_service: NewService) -> None:
    both = [new_service(port=free_port())]
    both.append(new_service(port=both[0].port))
    for each in both:
        each.launch()
    commands = [each.command for each in both if each.command is not None]
    wait_for("one of them to end", lambda: any(command.poll() is not None for command in commands))
    [loser] = [each for each in both if each.command is not None and each.command.poll() is not None]
    [winner] = [each for each in both if each is not loser]
    assert f"cannot listen on 127.0.0.1:{winner.port}" in loser.tail()
    wait_for("the other one", winner.ready)
    assert winner.stop() == 0


@pytest.mark.parametrize(
    ("flags", "code", "named"),
    [
        (["--port", "0"], 2, "--port"),
        (["--port", "http"], 2, "--port"),
        (["--hosts", "0"], 2, "--hosts"),
        (["--gateways", "65"], 2, "--gateways"),
        (["--dedicated", "some"], 2, "--dedicated"),
        (["--config", "/nowhere.toml"], 2, "/nowhere.toml"),
        (["--host", "192.0.2.1"], 1, "192.0.2.1"),
        (["--database", "mysql://x/y"], 1, "mysql"),
        (["--database", "what is this"], 1, "what is this"),
        (["--data-dir", "/proc/nowhere"], 1, "/proc/nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_work_is_said_before_anything_is_started(
    tmp_path: Path, flags: list[str], code: int, named: str
) -> None:
    run = run_command("serve", "--port", str(free_port()), "--data-dir", tmp_path / "data", *flags)
    assert (run.returncode, run.stdout) == (code, "")
    assert run.stderr.count("\n") == 1, run.stderr
    assert named in run.stderr


def test_a_path_that_is_too_long_for_sockets_is_one_clear_line(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    port = str(free_port())
    run = run_command("serve", "--port", port, "--data-dir", tmp_path / "data", TMPDIR=str(long))
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.count("\n") == 1, run.stderr
    assert str(long) in run.stderr
    assert "TMPDIR" in run.stderr


@pytest.mark.parametrize("name", ["lock", "logs/ray.log", "logs/counters.log"])
def test_a_file_that_cannot_be_written_is_one_clear_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    run = run_command("serve", "--port", str(free_port()), "--data-dir", tmp_path)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.count("\n") == 1, run.stderr
    assert str(tmp_path / name) in run.stderr


def test_no_place_for_temporary_files_is_one_clear_line(tmp_path: Path) -> None:
    program = "import tempfile; tempfile.tempdir = '/proc/nowhere'; import gateway.cli; exit(gateway.cli.main())"
    run = subprocess.run(
        [sys.executable, "-c", program, "serve", "--port", str(free_port()), "--data-dir", tmp_path],
        env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.count("\n") == 1, run.stderr
    assert "/proc/nowhere" in run.stderr


def test_a_terminal_that_has_gone_does_not_keep_it_from_saying_goodbye(new_service: NewService) -> None:
    service = new_service()
    reader, writer = os.pipe()
    service.command = subprocess.Popen(
        command("serve", "--port", str(service.port), "--data-dir", service.data_dir),
        env=service.family.environment(RAY_TMPDIR=str(service.scratch)),
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer, start_new_session=True,
    )  # fmt: skip
    os.close(writer)
    wait_for("the service is ready", service.ready)
    os.close(reader)
    with listening(service, "votes") as listener:
        service.processes()
        service.command.send_signal(signal.SIGINT)
        with pytest.raises(ConnectionClosed) as closed:
            listener.connection.recv(10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    assert service.command.wait(20) == 0
    service.check_nothing_left()


def test_no_ray_at_the_address_is_one_clear_line(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    port = str(free_port())
    run = run_command("serve", "--port", port, "--data-dir", tmp_path / "data", "--address", address, timeout=20)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.count("\n") == 1, run.stderr
    assert address in run.stderr


def test_values_outlive_both_ways_to_stop(new_service: NewService) -> None:
    """SIGINT and SIGTERM end everything; connected clients are told to come back; the values are there again."""
    service = new_service().start()
    service.call("increment", {"name": "kept", "amount": 7}, key="first")
    with listening(service, "kept") as listener:
        assert service.stop(signal.SIGINT) == 0
        with pytest.raises(ConnectionClosed) as closed:
            listener.hear()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    assert "Traceback" not in service.tail(200)
    assert f"Durable Counters at {service.url}" in service.output.read_text()

    service.start()
    assert service.call("getValue", {"name": "kept"})["value"] == 7
    assert service.call("increment", {"name": "kept", "amount": 7}, key="first")["value"] == 7
    assert service.call("increment", {"name": "kept"})["value"] == 8

    # One client that never answers the close frame, one in the middle of a request: neither holds up the end.
    with Bare(service).upgrade("kept"), Bare(service) as unfinished:
        unfinished.send(b"POST /rpc/counter.increment HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert service.stop(signal.SIGTERM) == 0
    assert "Traceback" not in service.tail(200)


def test_ctrl_c_in_a_terminal_reaches_every_process_and_still_nothing_is_left(new_service: NewService) -> None:
    """A terminal sends SIGINT to the whole process group, Ray's processes included."""
    service = new_service().start()
    service.call("increment", {"name": "kept"})
    assert service.command is not None
    service.processes()
    os.killpg(service.command.pid, signal.SIGINT)
    service.command.wait(20)
    service.check_nothing_left()
    assert "Traceback" not in service.tail(200)


@pytest.mark.parametrize("moment", ["gcs_server", "raylet", "ray::HostActor"])
def test_ctrl_c_while_it_starts(new_service: NewService, moment: str) -> None:
    """At whatever moment: it ends by itself, without a crash, and leaves nothing behind."""
    service = new_service().launch()
    assert service.command is not None
    wait_for(f"{moment} is being started", lambda: _runs(service, moment), 30)
    service.command.send_signal(signal.SIGINT)
    assert service.command.wait(30) >= 0
    service.check_nothing_left()
    assert "Traceback" not in service.tail(200)


def _runs(service: Service, title: str) -> bool:
    """Whether a process of the service is called like this, whatever its path."""
    titles = (each.split(" ")[0].rpartition("/")[2] for each in service.family.titles())
    return any(each.startswith(title) for each in titles)


def test_a_supervisor_that_is_killed_while_it_starts(new_service: NewService) -> None:
    service = new_service(hosts=2).launch()
    wait_for("a log", service.log.exists)
    os.kill(int(service.wait_for_line(r"supervisor_started pid=(\d+)")[1]), signal.SIGKILL)
    assert service.command is not None
    wait_for("the service is ready", lambda: service.ready() or service.command.poll() is not None)
    assert service.call("increment", {"name": "votes"})["value"] == 1
    assert service.stop() == 0


def test_nothing_of_ours_is_left_when_the_command_is_killed(new_service: NewService) -> None:
    service = new_service().start()
    service.call("increment", {"name": "kept", "amount": 3})
    assert service.command is not None
    service.processes()
    service.command.kill()
    service.command.wait()
    # Ray's own agents take a minute to notice; they hold neither the port nor the database.
    wait_for("our processes are gone", lambda: not any(service.actors(kind) for kind in KINDS), 10)
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", service.port), 1):
        pass
    service.kill_everything()
    assert service.start().call("getValue", {"name": "kept"})["value"] == 3
    assert service.stop() == 0


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_service_whose_ray_is_killed_begins_anew(new_service: NewService, name: str) -> None:
    running = new_service(hosts=2).start()
    assert running.command is not None
    before, actors = running.processes(), {pid for kind in KINDS for pid in running.pids(kind)}
    with SyncCounterClient(running.url) as client, closing(client.watch("votes")) as events:
        assert next(events).value == 0
        assert running.call("increment", {"name": "votes"}, key="1")["value"] == 1
        [of_ray] = [process for process in before if process.name() == name]
        of_ray.kill()
        wait_for("it is there again", lambda: running.output.read_text().count("Durable Counters at ") == 2, 60)
        assert f"lost its {name}" in running.output.read_text()
        assert running.call("increment", {"name": "votes"}, key="1")["value"] == 1
        assert running.call("increment", {"name": "votes"}, key="2")["value"] == 2
        assert [next(events).value, next(events).value] == [1, 2]
    assert running.command.poll() is None
    assert actors and actors.isdisjoint(pid for kind in KINDS for pid in running.pids(kind))
    for process in before:  # As when the command is killed, Ray's own agents take a minute to notice.
        if process.pid != running.command.pid and process.is_running():
            process.kill()
    assert running.stop() == 0
