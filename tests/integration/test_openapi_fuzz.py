"""Every procedure in `/openapi.json`, called with inputs made from its own schema: valid, on the edge, wrong.

The same inputs in every run: a failure repeats.
"""

from collections import Counter
from typing import NamedTuple

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, StopReason, events, from_schema

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
]
CONFIG = {
    "seed": 1,
    "workers": 1,
    "request-timeout": 10,
    "generation": {"deterministic": True, "database": "none", "max-examples": 30},
    "checks": {"enabled": False, **{check: {"enabled": True} for check in CHECKS}},
    "phases": {
        # What was answered must not change what is asked next.
        "coverage": {"extra-data-sources": {"responses": False}},
        "fuzzing": {"extra-data-sources": {"responses": False}, "error-feedback": {"enabled": False}},
        "stateful": {"enabled": False},
    },
}


class Run(NamedTuple):
    declared: set[str]
    answers: Counter[tuple[str, int]]
    complaints: list[str]
    ended: StopReason | None


@pytest.fixture(scope="module")
def run(service) -> Run:
    config = SchemathesisConfig.from_dict(CONFIG)
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json", config=config, timeout=10)
    schema = schema.include(path_regex="^/rpc/counter")  # What `admin` does is not for guessing.

    answers, complaints, ended = Counter(), [], None
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished(recorder=recorder):
                for exchange in recorder.interactions.values():
                    if exchange.response is not None:
                        answers[recorder.label, exchange.response.status_code] += 1
                results = (check for checks in recorder.checks.values() for check in checks)
                for info in (check.failure_info for check in results if check.status is Status.FAILURE):
                    what = f"{info.failure.title}: {info.failure.message}"
                    complaints.append(f"{recorder.label}: {what}\n{info.code_sample}")
            case events.NonFatalError(label=label, value=error):
                complaints.append(f"{label}: {error!r}")
            case events.FatalError(exception=error):
                raise error
            case events.EngineFinished(stop_reason=reason):
                ended = reason
    declared = {operation.ok().label for operation in schema.get_all_operations()}
    return Run(declared, answers, complaints, ended)


def test_every_procedure_keeps_its_word(run):
    assert not run.complaints, "\n\n".join(run.complaints)
    assert run.ended is StopReason.COMPLETED


def test_every_procedure_met_good_and_bad_inputs(run):
    """Without this, a service that refuses everything would pass."""
    accepted = {label for label, status in run.answers if status == 200}
    refused = {label for label, status in run.answers if status == 400}
    # These know only counters that exist, and a made-up name is not one; an alarm wants a time that lies ahead, and
    # only what has a source can be compared with it.
    needs = ("getMetadata", "getHistory", "delete", "setAlarm", "drift", "sync")
    needs_one = {label for label in run.declared if label.endswith(needs)}
    assert run.declared
    assert refused == run.declared
    assert accepted >= run.declared - needs_one
