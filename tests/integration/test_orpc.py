"""A stock oRPC client, from the npm registry, against the running service."""

from pathlib import Path

from tests.support.node import node, run_in

FOLDER = Path(__file__).parent / "orpc"


def test_a_stock_client_makes_every_call(service):
    run = run_in(FOLDER, node(FOLDER), "--test-reporter=spec", "calls.mjs", COUNTERS_URL=service.url)
    assert run.returncode == 0, run.stdout + run.stderr
