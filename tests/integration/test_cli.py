"""The client commands against a running service."""

from __future__ import annotations

import json
import signal
import subprocess

from tests.support.service_process import ROOT, Service, command, environment, free_port, run_command, wait_for


def test_commands_change_and_read(service: Service, counter: str) -> None:
    def counters(*arguments: str) -> str:
        run = run_command(*arguments, "--url", service.url)
        assert (run.returncode, run.stderr) == (0, ""), run.stderr
        return run.stdout

    assert counters("add", counter) == "1\n"
    assert counters("add", counter, "41") == "42\n"
    assert counters("sub", counter, "2", "--key", "k") == "40\n"
    assert counters("sub", counter, "2", "--key", "k") == "40\n"
    assert counters("set", counter, "7") == "7\n"
    assert counters("get", counter) == "7\n"
    assert json.loads(counters("get", counter, "--json")) == {"name": counter, "value": 7}
    assert counter in counters("list", "--prefix", counter)
    assert counters("reset", counter) == "0\n"


def test_history_policy_and_the_end_of_a_counter(service: Service, counter: str) -> None:
    def counters(*arguments: str) -> list[str]:
        run = run_command(*arguments, "--url", service.url)
        assert (run.returncode, run.stderr) == (0, ""), run.stderr
        return run.stdout.splitlines()

    assert "on_limit reject" in [" ".join(line.split()) for line in counters("policy", counter, "on_limit=reject")]
    counters("add", counter, "3")
    counters("add", counter, "4")
    newest, oldest = (line.split() for line in counters("history", counter))
    assert (newest[0], *newest[2:5]) == ("2", "increment(4)", "3", "7")
    assert (oldest[0], *oldest[2:5]) == ("1", "increment(3)", "0", "3")
    assert counters("undo", counter, "1") == counters("undo", counter, "1") == ["4"]
    assert json.loads(counters("policy", counter, "--json")[0])["on_limit"] == "reject"
    assert counters("delete", counter) == []
    assert counters("get", counter) == ["0"]
    gone = run_command("history", counter, "--url", service.url)
    assert (gone.returncode, gone.stderr.partition(":")[0]) == (1, "COUNTER_NOT_FOUND")


def test_a_refusal_is_one_line_and_code_1(service: Service) -> None:
    run = run_command("add", "not a name", "--url", service.url)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("COUNTER_VALIDATION_ERROR: ")
    assert run.stderr.count("\n") == 1


def test_nobody_there_is_one_line_and_code_3(counter: str) -> None:
    run = run_command("get", counter, "--url", f"http://127.0.0.1:{free_port()}")
    assert (run.returncode, run.stdout) == (3, "")
    assert "counters serve" in run.stderr
    assert run.stderr.count("\n") == 1


def test_watch_shows_values_until_it_is_interrupted(service: Service, counter: str) -> None:
    service.call("increment", {"name": counter, "amount": 5})
    watch = subprocess.Popen(
        command("watch", counter, "--json", "--url", service.url),
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert watch.stdout is not None
        assert json.loads(watch.stdout.readline())["value"] == 5
        service.call("increment", {"name": counter})
        assert json.loads(watch.stdout.readline())["value"] == 6
        watch.send_signal(signal.SIGINT)
        assert watch.wait(10) == 0
    finally:
        watch.kill()
        _, complaints = watch.communicate()
    assert complaints == ""


def test_watch_survives_a_gateway_that_is_killed(service: Service, counter: str) -> None:
    """It says that it is reconnecting, and shows the value again. The gateway is back when this ends."""
    service.call("increment", {"name": counter})
    watch = subprocess.Popen(
        command("watch", counter, "--json", "--url", service.url),
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert watch.stdout is not None
        assert json.loads(watch.stdout.readline())["value"] == 1
        sizes = [service.log_size()]
        before = service.pids("gateway")
        for process in service.processes():
            if process.pid in before:
                process.kill()
        wait_for("new gateways", lambda: len(set(service.pids("gateway")) - set(before)) == len(before), 30)
        wait_for("the service is ready", service.ready, 30)
        service.call("increment", {"name": counter})
        value = 1
        while value == 1:
            value = json.loads(watch.stdout.readline())["value"]
        assert value == 2
        assert sizes
    finally:
        watch.kill()
        watch.communicate()
