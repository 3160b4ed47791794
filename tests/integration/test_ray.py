"""On a Ray cluster that was there before: named actors, tasks that count, and an end that leaves it alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.support.service_clients import listening
from tests.support.service_cluster import RayHead
from tests.support.service_process import ROOT, Service, free_port, run_command, wait_for

FOLDER = Path(__file__).parent
# `counters`, which founds its service at a moment that was agreed upon.
AT_ONCE = """
import sys, time, actors.runtime as runtime, gateway.cli
moment, found = float(sys.argv.pop(1)), runtime.found
runtime.found = lambda *given: (time.sleep(max(0.0, moment - time.time())), found(*given))
exit(gateway.cli.main())
"""
TITLES = ("ray::HostActor", "ray::GatewayActor", "ray::SupervisorActor")
LIST = "import ray; ray.init(log_to_driver=False); print(ray.util.list_named_actors(all_namespaces=True))"


def test_a_service_in_a_cluster_and_every_counter_in_an_actor_of_its_own(tmp_path: Path) -> None:
    with RayHead().start() as head, Service(address=head.address, dedicated="all") as service:
        service.start(HOME=str(head.scratch))
        assert service.call("increment", {"name": "votes"})["value"] == 1

        # Whoever listens to a counter hears what Ray tasks do to it.
        with listening(service, "votes") as listener:
            seen = json.loads(head.run(FOLDER / "ray_driver.py", "votes").splitlines()[-1])
            events = [listener.hear() for _ in range(80 + 1 + 1)]
            assert listener.silent()
        assert [event["metadata"]["operationCount"] for event in events] == list(range(2, 84))
        assert events[-1]["value"] == 191

        assert seen["before"] == 1
        assert seen["counted"] == list(range(2, 82))
        assert seen["clicks"] == [91, 91, 91]
        assert (seen["direct"], seen["value"], seen["stub"]) == (191, 191, 191)
        assert {"counter:votes", "gateway:0", "supervisor"} <= set(seen["actors"])
        assert service.call("getValue", {"name": "votes"}) == {"name": "votes", "value": 191}

        text = tmp_path / "text"
        text.write_text("the cat, the cat\n" * 2)
        assert "words counted: 8" in head.run("examples/ray_word_count.py", text)
        words = service.call("getValues", {"names": ["word:the", "word:cat"]})["values"]
        assert words == {"word:the": 4, "word:cat": 4}

        run = run_command(
            "serve", "--port", str(free_port()), "--data-dir", tmp_path / "other", "--address", head.address,
            HOME=str(head.scratch),
        )  # fmt: skip
        assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1), run.stderr
        assert "counters stop" in run.stderr

        assert service.stop() == 0
        assert [pid for title in TITLES for pid in head.family.titled(title)] == []
        assert head.run("-c", LIST).splitlines()[-1] == "[]"


def test_of_two_services_that_start_at_once_in_a_cluster_one_does(tmp_path: Path) -> None:
    with RayHead().start() as head:
        moment = str(time.time() + 8)
        outputs = [tmp_path / "first", tmp_path / "second"]
        commands = []
        for output in outputs:
            arguments = ["--port", str(free_port()), "--data-dir", f"{output}-data", "--address", head.address]
            with output.open("wb") as file:
                program = [sys.executable, "-c", AT_ONCE, moment, "serve", *arguments]
                commands.append(subprocess.Popen(program, cwd=ROOT, env=head.environment(), stdout=file, stderr=file))
        wait_for("one of them to end", lambda: any(command.poll() is not None for command in commands))
        winner = 0 if commands[0].poll() is None else 1
        assert "already runs a counters service" in outputs[1 - winner].read_text()
        wait_for("the other one", lambda: "Durable Counters at" in outputs[winner].read_text())
        commands[winner].terminate()
        assert commands[winner].wait(20) == 0


def test_a_service_ends_with_the_node_that_it_has_joined() -> None:
    with RayHead().start() as head, Service(address=head.address) as service:
        service.start(HOME=str(head.scratch))
        [raylet] = [process for process in head.family.processes() if process.name() == "raylet"]
        raylet.kill()
        assert service.command is not None
        assert service.command.wait(10) == 1
        assert "lost its raylet" in service.tail()
