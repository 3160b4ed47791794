"""How long to wait, and what an answer means."""

import json

import pytest

from counters_client.core.retry import WINDOW_MAX_S, Backoff, closed, refused
from counters_client.errors import (
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    ServiceFailed,
    TooManyRequests,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)


def body(code: str, retryable: bool = False, **data: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": "m", "data": data, "retryable": retryable}}).encode()


def test_pauses_double_up_to_a_limit_and_jitter_scales_the_whole_of_them() -> None:
    backoff = Backoff(base_s=0.5, max_s=3)
    assert [backoff.pause_s(attempt, 1.0) for attempt in (1, 2, 3, 4, 5, 1_000_000)] == [0.5, 1, 2, 3, 3, 3]
    assert backoff.pause_s(3, 0.0) == 0
    assert backoff.pause_s(3, 0.25) == 0.5


@pytest.mark.parametrize(
    ("status", "said", "kind", "again", "away"),
    [
        (400, body("COUNTER_VALIDATION_ERROR", field="name", reason="r"), Invalid, False, False),
        (403, body("FORBIDDEN"), Forbidden, False, False),
        (404, body("COUNTER_NOT_FOUND"), NotFound, False, False),
        (409, body("SOMETHING_NEW"), Refused, False, False),
        (429, body("TOO_MANY_REQUESTS", True), TooManyRequests, True, False),
        (500, body("COUNTER_OPERATION_FAILED"), ServiceFailed, False, False),
        (503, body("UNAVAILABLE", True), Unavailable, True, True),
        (503, body("SOMETHING_NEW", True), Unavailable, True, True),
        (502, b"<html>Bad Gateway", Unavailable, True, True),
        (429, b"", Unavailable, True, False),
        (401, b"who are you?", Refused, False, False),
        (403, b"not here", Refused, False, False),
        (404, b"<html>", UnexpectedAnswer, False, False),
        (302, b"", UnexpectedAnswer, False, False),
        (200, b"<html>", UnexpectedAnswer, False, False),
        (500, b"[" * 100_000, UnexpectedAnswer, False, False),
        (799, b"\xff", UnexpectedAnswer, False, False),
    ],
)
def test_what_an_http_answer_means(status, said, kind, again, away) -> None:
    failure = refused(status, {}, said)
    assert type(failure.error) is kind
    assert (failure.again, failure.away) == (again, away)


def test_a_redirect_says_where_to() -> None:
    assert "https://else.where" in str(refused(301, {"location": "https://else.where"}, b"").error)


@pytest.mark.parametrize(("header", "seconds"), [("3", 3), ("0.5", 0.5), ("Wed, 21 Oct", 0), ("-1", 0), ("9999", 60)])
def test_not_sooner_than_the_service_asks(header, seconds) -> None:
    failure = refused(503, {"retry-after": header}, body("UNAVAILABLE", True))
    assert failure.pause_s(Backoff(1, 1), 1, 0.0) == seconds
    assert failure.pause_s(Backoff(1, 1), 1, 0.5) == seconds + 0.5


@pytest.mark.parametrize("code", [1008, 4400, 4401, 4403, 4404])
def test_closes_that_a_repetition_does_not_cure(code) -> None:
    failure = closed(code, "go away")
    assert not failure.again
    assert failure.error.code == f"CLOSED_{code}"
    assert "go away" in str(failure.error)


@pytest.mark.parametrize("code", [None, 1000, 1001, 1006, 1009, 1011, 1012, 1013, 4408, 4429, 4503])
def test_closes_that_are_over_some_time(code) -> None:
    failure = closed(code, "")
    assert failure.again
    assert isinstance(failure.error, Unreachable)
    assert failure.window is None


def test_the_window_of_a_service_that_stops() -> None:
    failure = closed(1012, '{"reconnect":[2,5]}')
    assert [failure.pause_s(Backoff(), 99, jitter) for jitter in (0.0, 0.5, 1.0)] == [2, 3.5, 5]


@pytest.mark.parametrize("reason", ["", "5", "[0,5]", '{"reconnect":5}', '{"reconnect":[-1,5]}', '{"reconnect":[0]}'])
def test_a_reason_that_is_no_window_is_none(reason) -> None:
    assert closed(1012, reason).window is None


def test_nobody_is_sent_away_for_ever() -> None:
    assert closed(1012, '{"reconnect":[0,1e9]}').window == (0, WINDOW_MAX_S)
    assert closed(1000, '{"reconnect":[0,5]}').window is None
