"""The client commands without a service: arguments, the decision to try again, what is printed.

The service is a function here (`httpx.MockTransport`), and pauses are written down instead of made.
"""

import argparse
import io
import json
import sys
from datetime import UTC, datetime
from types import ModuleType

import httpx
import pytest
from websockets.frames import Close

from gateway import cli
from gateway.commands import arguments, counters, history, hosts, policy, statistics
from gateway.commands.address import DEFAULT_URL, is_local, service_url, shown, socket_url
from gateway.commands.answers import ATTEMPTS_MAX, backoff_s, judge, pause_s, reason_of, seconds
from gateway.commands.counters import NAMES_MAX, PAGE_MAX, pages
from gateway.commands.errors import Failure, Refused, Unreachable, WrongUsage
from gateway.commands.service import REQUEST_TIMEOUT_S, Service
from gateway.commands.terminal import (
    BlockView,
    LinesView,
    Table,
    age,
    cause,
    delta,
    json_line,
    printable,
    view_for,
)
from gateway.commands.watch import WATCH_NAMES_MAX, Ended, Heard, Lost, after_close, show_one, window_s

URL = "http://counters.test"


def error_body(code="UNAVAILABLE", message="the counter is moving", retryable=True, data=None):
    return {"error": {"code": code, "message": message, "data": data, "retryable": retryable}}


def result(value, name="votes"):
    return {"name": name, "value": value, "previousValue": value - 1, "metadata": {}, "latestHistory": []}


class FakeService:
    """Answers with what the test has put into `answers`, one after the other; the last one stays."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.pauses = []
        self.now_s = 0.0
        self.answer_takes_s = 0.0

    def __call__(self, request):
        self.now_s += self.answer_takes_s
        procedure = request.url.path.rpartition(".")[2]
        self.asked.append((procedure, json.loads(request.content), request.headers.get("idempotency-key")))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def connect(self, url=URL, **_):
        """A client of this service, whose random numbers are all 1: the longest pauses."""
        transport = httpx.MockTransport(self)
        sleep, clock = self.pauses.append, lambda: self.now_s
        return Service(url, transport=transport, sleep=sleep, clock=clock, jitter=lambda: 1.0)


def parser():
    parser = argparse.ArgumentParser(prog="counters")
    arguments.add_commands(parser.add_subparsers(required=True))
    return parser


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch):
    monkeypatch.delenv("COUNTERS_URL", raising=False)


@pytest.fixture
def run(monkeypatch):
    """Run a command line against answers; gives the exit code and the service that was asked."""

    def run(line, *answers):
        service = FakeService(*answers)
        for module in (counters, history, hosts, policy, statistics):
            monkeypatch.setattr(module, "Service", service.connect)
        args = parser().parse_args(line.split())
        return args.run(args), service

    return run


# Arguments.


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("get votes", {"names": ["votes"], "json": False, "url": DEFAULT_URL}),
        ("get a b --json", {"names": ["a", "b"], "json": True}),
        ("add votes", {"name": "votes", "amount": 1, "procedure": "increment", "fields": ("amount",)}),
        ("add votes 5 --key k", {"amount": 5, "key": "k"}),
        ("add votes --key " + "k" * 200, {"key": "k" * 200}),
        ("sub votes 2", {"amount": 2, "procedure": "decrement"}),
        ("set temp -5", {"value": -5, "procedure": "setValue", "fields": ("value",)}),
        ("reset votes", {"procedure": "reset", "fields": ()}),
        ("watch a b", {"names": ["a", "b"]}),
        ("list", {"prefix": None, "limit": None}),
        ("list --prefix item- --limit 3", {"prefix": "item-", "limit": 3}),
        ("get votes --url localhost:9000/", {"url": "http://localhost:9000"}),
    ],
)
def test_arguments_are_understood(line, expected):
    args = vars(parser().parse_args(line.split()))
    assert {key: args[key] for key in expected} == expected
    assert callable(args["run"])


@pytest.mark.parametrize(
    "line",
    [
        "get",
        "watch",
        "add",
        "add votes 0",
        "add votes -1",
        "add votes 1.5",
        "add votes many",
        "add votes ٣",
        "set votes",
        "set votes 1_000",
        "set votes " + "9" * 41,
        "reset votes 1",
        "add votes --key=",
        "add votes --key=ключ",
        "add votes --key=" + "k" * 201,
        "list --limit 0",
        "scale",
        "scale --hosts 0",
        "scale 3",
        "restart-hosts now",
        "get votes --url ftp://x",
        "get votes --url http://",
        "get votes --url http://x:99999",
        "get votes --url http://x/?a=b",
        "fetch votes",
    ],
)
def test_wrong_usage_is_exit_code_2(line, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(line.split())
    assert ended.value.code == 2
    assert "usage: counters" in capsys.readouterr().err


def test_a_number_of_many_digits_is_out_of_range(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["set", "votes", "9" * 5_000])
    complaint = capsys.readouterr().err
    assert "out of range" in complaint and "whole number" not in complaint


def test_the_url_comes_from_the_flag_then_the_environment_then_the_default(monkeypatch):
    assert parser().parse_args(["get", "a"]).url == DEFAULT_URL
    monkeypatch.setenv("COUNTERS_URL", "https://example.org/counters/")
    assert parser().parse_args(["get", "a"]).url == "https://example.org/counters"
    assert parser().parse_args(["get", "a", "--url", "http://other"]).url == "http://other"


@pytest.mark.parametrize("before", [["--url", "http://127.0.0.1:1"], ["--url=http://127.0.0.1:1"]])
def test_the_url_may_stand_before_the_command(before, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(arguments, "run_get", lambda args: asked.append(args.url))
    assert cli.main([*before, "get", "a"]) == 0
    assert cli.main([*before, "get", "a", "--url", "http://other"]) == 0
    assert asked == ["http://127.0.0.1:1", "http://other"]
    with pytest.raises(SystemExit) as ended:
        cli.main([*before, "migrate"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --url=http://127.0.0.1:1" in capsys.readouterr().err


def test_a_useless_url_in_the_environment_is_wrong_usage_too(monkeypatch):
    monkeypatch.setenv("COUNTERS_URL", "nonsense://x")
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["get", "a"])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("localhost", "http://localhost"),
        ("127.0.0.1:8094", "http://127.0.0.1:8094"),
        ("http://[::1]:8094/", "http://[::1]:8094"),
        ("https://example.org/base/", "https://example.org/base"),
    ],
)
def test_an_address_is_brought_into_one_form(text, url):
    assert service_url(text) == url


def test_a_password_is_not_printed():
    assert shown("http://me:secret@example.org:81/x") == "http://example.org:81/x"
    assert "secret" not in str(Unreachable("http://me:secret@example.org", "refused"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h:1", "ws://h:1/ws/counter/a%3Ab?snapshot=1"),
        ("https://h/base", "wss://h/base/ws/counter/a%3Ab?snapshot=1"),
    ],
)
def test_the_socket_is_asked_for_a_snapshot(url, expected):
    assert socket_url(url, "a:b") == expected


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8094", True),
        ("http://127.1.2.3", True),
        ("http://localhost:1/base", True),
        ("http://[::1]:1", True),
        ("http://counters.localhost", True),
        ("http://10.0.0.1", False),
        ("http://localhost.example.org", False),
        ("http://[2001:db8::1]", False),
    ],
)
def test_no_proxy_leads_to_this_machine(url, local, monkeypatch):
    assert is_local(url) == local
    monkeypatch.setenv("HTTP_PROXY", "nonsense://127.0.0.1:1")
    if local:
        Service(url).__exit__()
    else:
        with pytest.raises(WrongUsage, match="the proxy or the certificates of the environment are of no use"):
            Service(url)


@pytest.mark.parametrize("line", ["get votes", "watch votes"])
def test_a_proxy_of_no_use_is_one_line_and_exit_code_2(line, monkeypatch, capsys):
    monkeypatch.setenv("HTTP_PROXY", "nonsense://127.0.0.1:1")
    args = parser().parse_args([*line.split(), "--url", URL])
    assert args.run(args) == 2
    assert capsys.readouterr().err.count("\n") == 1


# Judging an answer.


def test_a_success_is_its_json_object_or_array():
    assert judge(URL, 200, {}, b'{"value": 1}') == {"value": 1}
    assert judge(URL, 200, {}, b"[1]") == [1]


@pytest.mark.parametrize("body", [b"", b"<html>", b"1", b"null", b'{"value":'])
def test_a_success_that_is_neither_is_not_this_service(body):
    failure = judge(URL, 200, {}, body)
    assert isinstance(failure, Failure) and not failure.again
    assert str(failure.error).startswith("UNEXPECTED_ANSWER: ")


@pytest.mark.parametrize(
    ("status", "headers", "body", "again", "retry_after_s", "text"),
    [
        (503, {"retry-after": "1"}, error_body(), True, 1.0, "UNAVAILABLE: the counter is moving"),
        (503, {}, error_body(), True, None, "UNAVAILABLE: the counter is moving"),
        (503, {"retry-after": "2"}, error_body(retryable=False), True, 2.0, "UNAVAILABLE: the counter is moving"),
        (429, {"retry-after": "1"}, error_body("TOO_MANY_REQUESTS", "slow down", False), True, 1.0, None),
        (429, {}, error_body("TOO_MANY_REQUESTS", "slow down", False), False, None, None),
        (409, {}, error_body("OUT_OF_RANGE", "too large", False), False, None, "OUT_OF_RANGE: too large"),
        (500, {}, error_body("COUNTER_OPERATION_FAILED", "id 7", False), False, None, None),
        (502, {}, "<html>", True, None, "HTTP_502: Bad Gateway"),
        (504, {}, "<html>", True, None, "HTTP_504: Gateway Timeout"),
        (503, {"retry-after": "3"}, "<html>", True, 3.0, "HTTP_503: Service Unavailable"),
        (404, {}, "<html>", False, None, "HTTP_404: Not Found"),
        (301, {}, "", False, None, "HTTP_301: Moved Permanently"),
        (799, {}, "", False, None, "HTTP_799: no explanation given"),
    ],
)
def test_a_failure_knows_whether_to_try_again(status, headers, body, again, retry_after_s, text):
    failure = judge(URL, status, headers, (body if isinstance(body, str) else json.dumps(body)).encode())
    assert isinstance(failure, Failure)
    assert (failure.again, failure.retry_after_s) == (again, retry_after_s)
    assert failure.error.exit_code == 1
    assert text is None or str(failure.error) == text


@pytest.mark.parametrize(
    ("message", "data", "text"),
    [
        ("invalid input", {"field": "name", "reason": "too long"}, "invalid input (name: too long)"),
        ("invalid input", {"reason": "too long"}, "invalid input (too long)"),
        ("name: too long", {"field": "name", "reason": "too long"}, "name: too long"),
        ("no", {"reason": 3}, "no"),
        ("no", None, "no"),
    ],
)
def test_a_validation_error_names_field_and_reason_once(message, data, text):
    failure = judge(URL, 400, {}, json.dumps(error_body("E", message, False, data)).encode())
    assert isinstance(failure, Failure) and str(failure.error) == f"E: {text}"


@pytest.mark.parametrize(
    ("header", "expected"),
    [("1", 1.0), ("0.5", 0.5), (None, None), ("", None), ("soon", None), ("-1", None), ("nan", None)],
)
def test_retry_after_is_read_as_seconds(header, expected):
    assert seconds(header) == expected


AWAY = Failure(Unreachable(URL, "refused"), again=True)
BUSY = Failure(Refused("UNAVAILABLE", ""), again=True, retry_after_s=1.0)


@pytest.mark.parametrize(
    ("failure", "attempt", "jitter", "expected"),
    [
        (AWAY, 1, 1.0, 0.2),
        (AWAY, 1, 0.0, 0.0),
        (AWAY, 4, 0.5, 0.8),
        (AWAY, ATTEMPTS_MAX, 0.5, None),
        (BUSY, 1, 1.0, 1.2),
        (BUSY, ATTEMPTS_MAX, 1.0, None),
        (Failure(Refused("UNAVAILABLE", ""), again=True, retry_after_s=60.0), 1, 0.0, None),
        (Failure(Refused("OUT_OF_RANGE", ""), again=False), 1, 0.0, None),
    ],
)
def test_the_pause_before_another_attempt(failure, attempt, jitter, expected):
    assert pause_s(failure, attempt, jitter) == (None if expected is None else pytest.approx(expected))


def test_the_backoff_grows_to_its_limit_and_no_further():
    pauses = [backoff_s(attempt, 1.0, 15.0) for attempt in range(1, 2_000)]
    assert pauses == sorted(pauses) and pauses[-1] == 15.0


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(111, "Connection refused"), "connection refused"),
        (TimeoutError("Timed out"), "timed out"),
        (httpx.ReadTimeout(""), "ReadTimeout"),
        (OSError("\x1b[2J"), "?[2J"),
    ],
)
def test_a_reason_is_words(error, text):
    assert reason_of(error) == text


# Asking, with repetitions.


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.ReadTimeout("timed out"),
        httpx.RemoteProtocolError("closed"),
        httpx.Response(503, json=error_body(), headers={"Retry-After": "1"}),
        httpx.Response(502, text="bad gateway"),
    ],
)
def test_a_repeated_operation_carries_the_same_key(trouble):
    fake = FakeService(trouble, trouble, result(42))
    assert fake.connect().ask("counter.increment", {"name": "votes", "amount": 1}, key="k")["value"] == 42
    assert fake.asked == [("increment", {"name": "votes", "amount": 1}, "k")] * 3
    assert len(fake.pauses) == 2


def test_it_waits_as_long_as_the_service_asks_for():
    fake = FakeService(httpx.Response(503, json=error_body(), headers={"Retry-After": "2"}), result(1))
    fake.connect().ask("counter.reset", {"name": "votes"}, key="k")
    assert fake.pauses == [pytest.approx(2.2)]


def test_it_gives_up_after_a_few_attempts():
    fake = FakeService(httpx.ConnectError("refused"))
    with pytest.raises(Unreachable):
        fake.connect().ask("counter.getValues", {"names": ["votes"]})
    assert len(fake.asked) == ATTEMPTS_MAX
    assert sum(fake.pauses) <= 3.01


def test_it_begins_no_further_attempt_when_it_has_waited_for_long():
    fake = FakeService(httpx.ReadTimeout("timed out"))
    fake.answer_takes_s = REQUEST_TIMEOUT_S
    with pytest.raises(Unreachable):
        fake.connect().ask("counter.getValues", {"names": ["votes"]})
    assert len(fake.asked) == 2


def test_a_refusal_is_not_repeated():
    fake = FakeService(httpx.Response(409, json=error_body("OUT_OF_RANGE", "too large", False)))
    with pytest.raises(Refused, match="OUT_OF_RANGE: too large"):
        fake.connect().ask("counter.increment", {"name": "votes", "amount": 1}, key="k")
    assert len(fake.asked) == 1


# Commands.


def test_one_value_is_printed_alone(run, capsys):
    code, service = run("get votes", {"values": {"votes": 42}})
    assert (code, capsys.readouterr().out) == (0, "42\n")
    assert service.asked == [("getValues", {"names": ["votes"]}, None)]


def test_several_values_are_lined_up_in_the_order_asked_for(run, capsys):
    code, service = run("get votes b votes", {"values": {"b": -7, "votes": 42}})
    assert (code, capsys.readouterr().out) == (0, "votes  42\nb      -7\nvotes  42\n")
    assert service.asked[0][1] == {"names": ["votes", "b"]}


def test_many_names_are_asked_for_in_portions(run, capsys):
    names = [f"n{i}" for i in range(NAMES_MAX + 1)]
    some, rest = names[: NAMES_MAX], names[NAMES_MAX :]
    code, service = run(
        "get --json " + " ".join(names),
        {"values": dict.fromkeys(some, 1)},
        {"values": dict.fromkeys(rest, 2)},
    )
    assert code == 0 and [question["names"] for _, question, _ in service.asked] == [some, rest]
    assert capsys.readouterr().out.splitlines()[-1] == '{"name":"n1000","value":2}'


def items(*ids):
    return [
        {
            "id": id,
            "operation": "increment(1)",
            "previousValue": id - 1,
            "newValue": id,
            "timestamp": "2026-11-22T02:18:45.634Z",
            "operationId": f"id{id}",
            "subject": None,
            "source": None if id % 2 else "http 127.0.0.1",
            "reason": None,
        }
        for id in ids
    ]


def test_history_is_a_line_for_each_operation(run, capsys):
    code, service = run("history votes", items(2, 1), [])
    assert code == 0 and service.asked[0] == ("getHistory", {"name": "votes", "limit": 20}, None)
    assert capsys.readouterr().out.splitlines() == [
        "2  2026-11-22T02:18:45.634Z  increment(1)  1  2  http 127.0.0.1",
        "1  2026-11-22T02:18:45.634Z  increment(1)  0  1  -",
    ]


def test_history_asks_on_until_it_has_enough(run, capsys):
    code, service = run("history votes --limit 150 --json", items(*range(300, 200, -1)), items(*range(200, 150, -1)))
    assert code == 0
    assert [question for _, question, _ in service.asked] == [
        {"name": "votes", "limit": 100},
        {"name": "votes", "limit": 50, "before": 201},
    ]
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(300, 150, -1))


def test_a_service_that_repeats_its_history_keeps_nobody(run, capsys):
    code, service = run("history votes --limit 1000", items(2, 1))
    assert code == 0 and len(service.asked) == 2


def test_undo_needs_no_key_because_its_operation_is_one(run, capsys):
    code, service = run("undo votes 17", result(3))
    assert (code, service.asked) == (0, [("undo", {"name": "votes", "seq": 17}, None)])
    assert capsys.readouterr().out == "3\n"


def test_delete_says_nothing(run, capsys):
    code, service = run("delete votes --key k", {"success": True, "name": "votes"})
    assert (code, service.asked, capsys.readouterr().out) == (0, [("delete", {"name": "votes"}, "k")], "")


def test_a_policy_is_a_line_for_each_field(run, capsys):
    policy = {"minimum": 0, "reset_after": "20m", "likes": False}
    code, service = run("policy votes", {"name": "votes", "policy": policy})
    assert (code, service.asked) == (0, [("getMetadata", {"name": "votes"}, None)])
    assert capsys.readouterr().out.splitlines() == ["minimum      0", "reset_after  20m", "likes        false"]


def test_fields_of_a_policy_are_json_or_else_texts(run, capsys):
    line = "policy votes minimum=-1 maximum=null reset_after=20m likes=true initial=NaN --key k"
    code, service = run(line, {"success": True, "policy": {}})
    policy = {"minimum": -1, "maximum": None, "reset_after": "20m", "likes": True, "initial": "NaN"}
    assert (code, service.asked) == (0, [("configure", {"name": "votes", "policy": policy}, "k")])


@pytest.mark.parametrize("field", ["minimum", "=3", ""])
def test_what_is_no_field_of_a_policy_is_wrong_usage(field):
    with pytest.raises(SystemExit) as exit:
        parser().parse_args(["policy", "votes", field])
    assert exit.value.code == 2


@pytest.mark.parametrize("answer", [{}, [1], {"values": {}}, {"values": {"votes": "42"}}, {"values": 3}])
def test_an_answer_of_another_shape_is_told_and_no_traceback(run, capsys, answer):
    code, _ = run("get votes", answer)
    assert code == 1
    assert capsys.readouterr().err.startswith("UNEXPECTED_ANSWER: ")


@pytest.mark.parametrize(
    ("line", "procedure", "question"),
    [
        ("add votes", "increment", {"name": "votes", "amount": 1}),
        ("add votes 5", "increment", {"name": "votes", "amount": 5}),
        ("sub votes 5", "decrement", {"name": "votes", "amount": 5}),
        ("set votes -5", "setValue", {"name": "votes", "value": -5}),
        ("reset votes", "reset", {"name": "votes"}),
    ],
)
def test_an_operation_prints_the_new_value(run, capsys, line, procedure, question):
    code, service = run(line, result(42))
    assert (code, capsys.readouterr().out) == (0, "42\n")
    [(asked, sent, key)] = service.asked
    assert (asked, sent) == (procedure, question)
    assert len(key) == 32


def test_each_invocation_has_a_key_of_its_own(run):
    keys = {run("add votes", result(1))[1].asked[0][2] for _ in range(3)}
    assert len(keys) == 3


@pytest.mark.parametrize("key", ["", " ", "a\nb", " a", "a ", "\udcff"])
def test_what_is_no_key_is_not_replaced_by_a_random_one(key, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["add", "votes", "--key", key])
    assert ended.value.code == 2
    assert "is no key" in capsys.readouterr().err


def test_a_key_can_be_given(run):
    assert run("add votes --key mine", result(1))[1].asked[0][2] == "mine"


def test_json_is_the_whole_result_on_one_line(run, capsys):
    code, _ = run("add votes --json", result(42))
    assert code == 0 and json.loads(capsys.readouterr().out) == result(42)


def test_a_refusal_is_one_line_and_exit_code_1(run, capsys):
    code, _ = run("add votes", httpx.Response(403, json=error_body("FORBIDDEN", "not\nallowed", False)))
    assert (code, *capsys.readouterr()) == (1, "", "FORBIDDEN: not?allowed\n")


def test_a_limit_tells_when_to_come_back(run, capsys):
    limit = httpx.Response(429, json=error_body("TOO_MANY_REQUESTS", "slow down"), headers={"Retry-After": "60"})
    code, service = run("add votes", limit)
    assert (code, capsys.readouterr().err) == (1, "TOO_MANY_REQUESTS: slow down (try again in 60 s)\n")
    assert len(service.asked) == 1


def test_a_service_that_is_not_there_is_one_line_and_exit_code_3(run, capsys):
    code, _ = run("add votes", httpx.ConnectError("[Errno 111] Connection refused"))
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert err.startswith(f"cannot reach {DEFAULT_URL}: connection refused (start the service with")
    assert "counters serve" in err and "may have been applied" not in err


@pytest.mark.parametrize(
    "trouble", [httpx.ReadTimeout("timed out"), httpx.Response(503, json=error_body()), httpx.ReadError("reset")]
)
def test_an_unknown_outcome_is_told_with_the_key_that_makes_it_safe_to_repeat(run, capsys, trouble):
    _, service = run("add votes", trouble)
    key = service.asked[0][2]
    assert f"it may have been applied: --key {key} repeats it safely" in capsys.readouterr().err


def test_a_read_never_speaks_of_being_applied(run, capsys):
    code, _ = run("get votes", httpx.ReadTimeout("timed out"))
    assert code == 3 and "applied" not in capsys.readouterr().err


def test_ctrl_c_is_no_traceback(run, capsys):
    code, _ = run("add votes", KeyboardInterrupt())
    assert (code, *capsys.readouterr()) == (130, "", "")


@pytest.mark.parametrize("line", ["get \udcff", "add \udcff", "list --prefix \udcff", "watch \udcff"])
def test_an_argument_that_is_no_text_is_wrong_usage(run, capsys, line):
    code, service = run(line, {})
    assert (code, service.asked, capsys.readouterr().err) == (2, [], "counters: an argument is no text\n")


@pytest.mark.parametrize("line", ["get votes", "get votes --json"])
def test_a_full_disk_is_one_line_and_exit_code_1(run, capsys, monkeypatch, line):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert run(line, {"values": {"votes": 42}})[0] == 1
    assert capsys.readouterr().err == "counters: cannot write: No space left on device\n"


@pytest.mark.parametrize("module", ["gateway.commands.arguments", "gateway.config"])
def test_ctrl_c_while_it_imports_is_no_traceback(module, capsys, monkeypatch):
    class Interrupted(ModuleType):
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, module, Interrupted(module))
    assert cli.main(["migrate", "--config", "/nowhere"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_sync_takes_the_actual_value(run, capsys):
    code, service = run("sync votes --actual -3", {"oldCount": 1, "newCount": -3, "difference": -4})
    assert (code, capsys.readouterr().out) == (0, "votes  1  -3  -4\n")
    assert service.asked[0][:2] == ("sync", {"name": "votes", "actual": -3})
    code, service = run("sync --all --actual 3", {"sources": []})
    assert (code, service.asked) == (2, [])


# The list.


def counter(name, value=1):
    return {"name": name, "value": value, "createdAt": "2025-01-15T12:00:00.000Z", "createdBy": None}


def test_the_list_follows_the_cursors():
    fake = FakeService({"counters": [counter("a")], "count": 1, "cursor": "a"}, {"counters": [counter("b")]})
    assert [[row["name"] for row in page] for page in pages(fake.connect(), "p", None)] == [["a"], ["b"]]
    assert [question for _, question, _ in fake.asked] == [
        {"prefix": "p", "limit": PAGE_MAX},
        {"prefix": "p", "limit": PAGE_MAX, "cursor": "a"},
    ]


def test_the_list_ends_at_its_limit():
    more = {"counters": [counter("a"), counter("b")], "cursor": "b"}
    fake = FakeService(more, {**more, "cursor": "d"})
    assert [len(page) for page in pages(fake.connect(), None, 3)] == [2, 1]
    assert [question["limit"] for _, question, _ in fake.asked] == [3, 1]


def test_the_list_ends_when_the_service_repeats_its_cursor():
    fake = FakeService({"counters": [counter("a")], "cursor": "a"})
    assert len(list(pages(fake.connect(), None, None))) == 2


def test_the_list_is_lined_up_over_pages(run, capsys):
    first = {"counters": [counter("a-long-name", 1)], "cursor": "a-long-name"}
    code, _ = run("list", first, {"counters": [counter("b", 1_000)]})
    assert (code, capsys.readouterr().out) == (0, "a-long-name  1  -\nb            1000  -\n")


def test_the_list_as_json_is_a_counter_a_line(run, capsys):
    code, _ = run("list --json", {"counters": [counter("a"), counter("b")]})
    lines = capsys.readouterr().out.splitlines()
    assert code == 0 and [json.loads(line) for line in lines] == [counter("a"), counter("b")]


# Watching.


def message(value, previous=None, kind="increment", count=1, **more):
    metadata = {"id": 1, "operationCount": count}
    event = {"type": kind, "value": value, "metadata": metadata, **more}
    return event if previous is None else {**event, "previousValue": previous}


@pytest.mark.parametrize(
    ("code", "again"),
    [(1000, True), (1001, True), (1011, True), (1012, True), (4429, True), (4408, True), (1008, False), (4403, False)],
)
def test_the_close_code_says_whether_to_come_back(code, again):
    assert after_close(URL, Close(code, "")).again is again


def test_a_connection_that_breaks_is_taken_up_again():
    failure = after_close(URL, None)
    assert failure.again and str(failure.error) == f"lost {URL}: the connection broke"


def test_a_draining_gateway_spreads_its_clients():
    assert after_close(URL, Close(1012, '{"reconnect":[0,5]}')).spread_s == 5.0
    assert after_close(URL, Close(1011, '{"reconnect":[0,5]}')).spread_s == 0.0


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("", 0),
        ("bye", 0),
        ("[]", 0),
        ('{"reconnect":5}', 0),
        ('{"reconnect":[0,-5]}', 0),
        ('{"reconnect":[0,2.5]}', 2.5),
        ('{"reconnect":[1,9999],"more":1}', 60),
    ],
)
def test_the_reconnect_window_is_bounded(reason, expected):
    assert window_s(reason) == expected


class RecordingView:
    def __init__(self):
        self.said = []

    def heard(self, name, message):
        self.said.append((name, message["value"]))

    def lost(self, name):
        self.said.append(("lost", name))

    def note(self, text):
        self.said.append(text)

    def draw(self):
        self.said.append("draw")


def test_an_outage_is_told_once_and_so_is_its_end():
    view, lost = RecordingView(), set()
    items = [Heard("a", message(1)), Lost("a", "gone"), Lost("b", "gone"), Lost("a", "gone")]
    items += [Heard("b", message(2)), Heard("a", message(3)), Heard("a", message(4))]
    for item in items:
        show_one(item, view, lost)
    outage = ["gone; reconnecting", ("lost", "b"), ("lost", "a"), ("b", 2), ("a", 3), "connected again"]
    assert view.said == [("a", 1), ("lost", "a"), *outage, ("a", 4)]


def test_what_has_no_value_is_not_shown_as_one():
    view = RecordingView()
    show_one(Heard("a", {"type": "pong", "timestamp": "…"}), view, set())
    show_one(Heard("a", {"type": "error", "code": "C", "message": "m"}), view, set())
    assert view.said == ["a: C: m"]


def test_what_ends_a_listener_ends_the_command():
    with pytest.raises(Refused):
        show_one(Ended(Refused("FORBIDDEN", "no")), RecordingView(), set())


def test_too_many_names_to_watch_are_wrong_usage(run, capsys):
    code, _ = run("watch " + " ".join(f"n{i}" for i in range(WATCH_NAMES_MAX + 1)), {})
    assert code == 2 and "100 at most" in capsys.readouterr().err


# What is printed.


def test_columns_are_aligned_and_only_grow():
    table = Table(2, right=(1,))
    assert table.lines([("a", "10"), ("long", "5")]) == ["a     10", "long   5"]
    assert table.lines([("b", "1")]) == ["b      1"]
    assert table.lines([("b", "100")]) == ["b     100"]


@pytest.mark.parametrize(
    ("then", "text"),
    [
        ("2025-01-15T12:00:00.000Z", "now"),
        ("2025-01-15T11:59:48.000Z", "12s"),
        ("2025-01-15T11:55:00.000Z", "5m"),
        ("2025-01-15T09:00:00.000Z", "3h"),
        ("2024-12-06T12:00:00.000Z", "40d"),
        ("2025-01-15T12:00:30.000Z", "now"),
        ("2025-01-15T11:00:00", "2025-01-15T11:00:00"),
        ("yesterday", "yesterday"),
    ],
)
def test_an_age_is_one_unit(then, text):
    assert age(then, datetime(2025, 1, 15, 12, tzinfo=UTC)) == text


def test_an_event_says_what_it_did():
    assert (delta(message(5, 2)), cause(message(5, 2))) == ("+3", "increment")
    assert (delta(message(0, 9)), cause(message(0, 9, "reset", reason="inactivity"))) == ("-9", "reset (inactivity)")
    assert (delta(message(5, kind="snapshot")), cause(message(5, kind="snapshot"))) == ("", "")


def test_text_of_a_server_cannot_steer_the_terminal():
    assert printable("a\x1b[2J\nb\x07é") == "a?[2J?b?é"


def test_json_is_compact_and_keeps_its_letters():
    assert json_line({"name": "é", "value": 1}) == '{"name":"é","value":1}'


def test_lines_are_written_one_for_each_change():
    out, err = io.StringIO(), io.StringIO()
    view = LinesView(["a", "long"], out, err, as_json=False)
    view.heard("a", message(1, kind="snapshot", count=1))
    view.heard("long", message(7, 6, count=1))
    view.note("lost\x07")
    view.heard("a", message(1, kind="snapshot", count=1))
    view.heard("a", message(2, kind="snapshot", count=2))
    assert out.getvalue() == "a     1\nlong  7\na     2\n"
    assert err.getvalue() == "lost?\n"


def test_json_lines_have_the_name_and_the_message():
    out = io.StringIO()
    LinesView(["a"], out, io.StringIO(), as_json=True).heard("a", {"type": "snapshot", "value": 3})
    assert out.getvalue() == '{"name":"a","type":"snapshot","value":3}\n'


def test_the_block_is_drawn_over_itself():
    out, err = io.StringIO(), io.StringIO()
    view = BlockView(["a", "b"], out, err)
    view.draw()
    view.heard("a", message(2, 1))
    view.draw()
    first, second = out.getvalue().split("\x1b[2F\x1b[J")
    assert first == "a  -    (connecting)\nb  -    (connecting)\n"
    assert second == "a  2  +1  increment\nb  -      (connecting)\n"


def test_a_lost_counter_keeps_its_value_but_says_so():
    out, err = io.StringIO(), io.StringIO()
    view = BlockView(["a"], out, err)
    view.heard("a", message(2, 1))
    view.lost("a")
    view.note("gone")
    assert out.getvalue().splitlines()[-1] == "a  2    (connecting)"
    assert err.getvalue() == "gone\n"


def test_the_block_never_wraps(monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    out = io.StringIO()
    BlockView(["a" * 30], out, io.StringIO()).draw()
    assert out.getvalue() == "a" * 9 + "\n"


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_the_block_is_for_a_terminal_with_room(monkeypatch):
    monkeypatch.setenv("LINES", "10")
    few, many = ["a"], [f"n{i}" for i in range(10)]
    assert isinstance(view_for(few, Screen(), Screen(), as_json=False), BlockView)
    assert isinstance(view_for(many, Screen(), Screen(), as_json=False), LinesView)
    assert isinstance(view_for(few, Screen(), Screen(), as_json=True), LinesView)
    assert isinstance(view_for(few, io.StringIO(), Screen(), as_json=False), LinesView)


# The service as a whole.


def awake(name, ops_per_s, **more):
    since = datetime.now(UTC).isoformat()
    row = {"name": name, "host": "host:0", "dedicated": False, "epoch": 3, "awakeSince": since, "sessions": 2}
    return {**row, "opsPerS": ops_per_s, **more}


def test_what_is_awake_is_a_table_with_the_busiest_first(run, capsys):
    rows = [awake("seats", 0.25), awake("votes", 1200.0, host="counter:votes", dedicated=True), awake("likes", 0.25)]
    code, service = run("ps", {"counters": rows})
    assert (code, service.asked) == (0, [("ps", {}, None)])
    assert capsys.readouterr().out.splitlines() == [
        "votes  counter:votes  dedicated  3  now  1200.0  2",
        "likes  host:0         shared     3  now     0.2  2",
        "seats  host:0         shared     3  now     0.2  2",
    ]


def test_what_is_awake_as_json_is_a_counter_a_line(run, capsys):
    code, _ = run("ps --json", {"counters": [awake("votes", 1.5, awakeSince="2026-11-22T02:18:45.634Z")]})
    assert code == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "votes",
        "host": "host:0",
        "dedicated": False,
        "epoch": 3,
        "awake_since": "2026-11-22T02:18:45.634Z",
        "ops_per_s": 1.5,
        "sessions": 2,
    }


def test_nothing_awake_is_nothing_printed(run, capsys):
    assert run("ps", {"counters": []})[0] == 0
    assert capsys.readouterr().out == ""


def test_hosts_are_scaled_and_replaced(run, capsys):
    code, service = run("scale --hosts 3", {"success": True, "hosts": 3})
    assert (code, service.asked, capsys.readouterr().out) == (0, [("scale", {"hosts": 3}, None)], "3 hosts\n")
    code, service = run("restart-hosts", {"success": True})
    assert (code, service.asked, capsys.readouterr().out) == (0, [("restartHosts", {}, None)], "all hosts are new\n")


@pytest.mark.parametrize(
    ("line", "answer"), [("scale --hosts 3", {"success": True, "hosts": 3}), ("restart-hosts", {"success": True})]
)
def test_what_was_done_to_hosts_as_json_is_the_answer_on_one_line(run, capsys, line, answer):
    code, _ = run(f"{line} --json", answer)
    assert (code, json.loads(capsys.readouterr().out)) == (0, answer)


def test_who_may_not_is_told_so(run, capsys):
    refusal = httpx.Response(403, json=error_body("FORBIDDEN", "not from there", retryable=False))
    assert run("ps", refusal)[0] == 1
    assert capsys.readouterr().err == "FORBIDDEN: not from there\n"
