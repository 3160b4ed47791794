"""Whatever arrives over the wire: a typed error within a second, the service goes on, and no value changes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.support.service_clients import Bare, frame
from tests.support.service_process import Service, wait_for

ANSWER_S = 1.0
MANY = 10_000
TEXT, CONTINUED, BINARY, CLOSE, PING = 0x81, 0x80, 0x82, 0x88, 0x89
OPEN_TEXT, OPEN_CONTINUED, OPEN_BINARY = 0x01, 0x00, 0x02  # Without FIN: more follows.

PROCEDURES = (
    "create", "increment", "decrement", "setValue", "reset", "getValue", "getValues",
    "getMetadata", "getHistory", "listAll", "configure", "sync", "delete",
)  # fmt: skip

DEEP = b"[" * 100_000 + b"]" * 100_000
BODIES: dict[str, tuple[bytes, int]] = {
    "2 MB": (b'{"name":"' + b"x" * 2**21 + b'"}', 413),
    "2 MB of nothing": (b" " * 2**21, 413),
    "a million digits": (b'{"name":"NAME","amount":' + b"9" * 200_000 + b"}", 400),
    "deep": (DEEP, 400),
    "deep inside": (b'{"name":"NAME","amount":' + DEEP + b"}", 400),
    "deep objects": (b'{"a":' * 40_000 + b"1" + b"}" * 40_000, 400),
    "not UTF-8": (b'{"name":"\xff\xfe\xc0"}', 400),
    "half a surrogate": (b'{"name":"\\ud800"}', 400),
    "not JSON": (b"name=NAME&amount=1", 400),
    "cut off": (b'{"name":"NAME"', 400),
    "two values": (b'{"name":"NAME"}{"name":"NAME"}', 400),
    "NaN": (b'{"name":"NAME","amount":NaN}', 400),
    "a list": (b'["NAME"]', 400),
    "a string": (b'"NAME"', 400),
    "null": (b"null", 400),
    "a number": (b"1", 400),
    "NUL bytes": (b"\0" * 1_000, 400),
    "noise": (random.Random(1).randbytes(10_000), 400),
    "an unknown field": (b'{"name":"NAME","names":["NAME"],"bogus":1}', 400),
    "a name that is none": (b'{"name":"NAME/../x","names":["NAME/../x"],"prefix":"/"}', 400),
    "a name with a line break": (b'{"name":"NAME\\n","names":["NAME\\n"],"prefix":"NAME\\n"}', 400),
    "an empty name": (b'{"name":"","names":[""],"limit":0}', 400),
    "types": (b'{"name":1,"names":"NAME","prefix":2}', 400),
}
AMOUNTS = ("0", "-1", "1.5", "1e3", '"1"', "true", "null", "9007199254740992", "-9007199254740992", "1e400", "[]")


@pytest.fixture
def untouched(http: httpx.Client, counter: str) -> Iterator[str]:
    """A counter that stands at 7 after one operation, and still does when the test is over."""
    http.post("/rpc/counter.setValue", json={"name": counter, "value": 7})
    before = http.post("/rpc/counter.getMetadata", json={"name": counter}).json()
    yield counter
    assert http.post("/rpc/counter.getMetadata", json={"name": counter}).json() == before
    assert http.get("/readyz").status_code == 200


@pytest.fixture(autouse=True)
def nobody_dies(service: Service) -> Iterator[None]:
    """The processes are the same after a test as before, and none of them has logged a mistake of ours."""
    pids, size = service.pids("gateway") + service.pids("host"), service.log_size()
    yield
    assert service.pids("gateway") + service.pids("host") == pids
    with service.log.open("rb") as log:
        log.seek(size)
        lines = log.read().decode().splitlines()
    assert [line for line in lines if " ERROR " in line or " CRITICAL " in line or "action=failed" in line] == []


def in_time(bare: Bare) -> Bare:
    bare.socket.settimeout(ANSWER_S)
    return bare


# HTTP


@pytest.mark.parametrize("body", BODIES)
def test_bad_bodies_for_every_procedure(service: Service, untouched: str, body: str) -> None:
    data, status = BODIES[body]
    for procedure in PROCEDURES:
        with in_time(Bare(service)) as bare:
            answer = bare.post(f"/rpc/counter.{procedure}", data.replace(b"NAME", untouched.encode()))
            assert (answer.status, answer.code) == (status, _code(status)), procedure
            assert bare.post("/rpc/counter.getValue", json.dumps({"name": untouched}).encode()).status == 200


@pytest.mark.parametrize("envelope", [b'{"json":BODY}', b'{"json":BODY,"meta":[[0,"amount"]]}'])
@pytest.mark.parametrize("body", BODIES)
def test_bad_bodies_in_an_envelope(service: Service, untouched: str, body: str, envelope: bytes) -> None:
    data, status = BODIES[body]
    wrapped = envelope.replace(b"BODY", data.replace(b"NAME", untouched.encode()))
    with in_time(Bare(service)) as bare:
        answer = bare.post("/rpc/counter/increment", wrapped)
        error = json.loads(answer.body)["json"]
        assert (answer.status, error["code"], error["defined"]) == (status, _code(status), True)


@pytest.mark.parametrize("amount", AMOUNTS)
def test_amounts_that_are_none(http: httpx.Client, untouched: str, amount: str) -> None:
    fields = {"increment": "amount", "decrement": "amount", "setValue": "value", "sync": "actual"}
    for procedure, field in fields.items():
        if field != "amount" and amount in ("0", "-1"):
            continue
        answer = http.post(f"/rpc/counter.{procedure}", content=f'{{"name":"{untouched}","{field}":{amount}}}')
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "COUNTER_VALIDATION_ERROR"), procedure
        assert error["data"]["field"] in (field, "body"), procedure


def test_a_missing_field_is_named(http: httpx.Client) -> None:
    for procedure in set(PROCEDURES) - {"listAll"}:
        error = http.post(f"/rpc/counter.{procedure}", json={}).json()["error"]
        assert (error["code"], error["data"]["field"]) == (
            "COUNTER_VALIDATION_ERROR",
            "names" if procedure == "getValues" else "name",
        )


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_a_form_can_send_is_refused(service: Service, untouched: str, content_type: str) -> None:
    """A page elsewhere may send these without asking first."""
    for procedure in PROCEDURES:
        with in_time(Bare(service)) as bare:
            body = json.dumps({"name": untouched, "value": 1, "actual": 1}).encode()
            answer = bare.post(f"/rpc/counter.{procedure}", body, content_type=content_type)
            assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE"), procedure


def test_wrong_methods(http: httpx.Client, untouched: str) -> None:
    for procedure in PROCEDURES:
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
            answer = http.request(method, f"/rpc/counter.{procedure}", params={"name": untouched})
            assert (answer.status_code, answer.json()["error"]["code"]) == (405, "METHOD_NOT_SUPPORTED"), procedure
            assert answer.headers["allow"] == "POST"


def test_what_is_no_http(service: Service, untouched: str) -> None:
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(300),  # TLS.
        b"\0" * 1_000,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /rpc/counter.increment HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /rpc/counter.increment HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        with in_time(Bare(service)) as bare:
            bare.send(data)
            assert bare.answer().status == 400


def test_a_body_that_never_comes_harms_nobody(service: Service, untouched: str) -> None:
    with Bare(service) as stuck, in_time(Bare(service)) as other:
        stuck.send(b"POST /rpc/counter.increment HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert other.post("/rpc/counter.getValue", json.dumps({"name": untouched}).encode()).status == 200


@pytest.mark.parametrize("more", [b"", b"Expect: 100-continue\r\n"], ids=["at once", "when told to go on"])
def test_half_a_request_does_nothing(service: Service, http: httpx.Client, counter: str, more: bytes) -> None:
    body = json.dumps({"name": counter}).encode()
    with Bare(service) as bare:
        head = b"POST /rpc/counter.increment HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n"
        bare.send(head % (more, len(body) + 1) + body)
        bare.socket.shutdown(socket.SHUT_WR)
        while bare.socket.recv(2**16):
            pass  # Until the gateway has closed, too. What it had begun by then would be applied before what comes now.
    assert http.post("/rpc/counter.increment", json={"name": counter}).json()["value"] == 1


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /",
        b"GET / HTTP/1.1\r\nX: ",
        b"POST /rpc/counter.getValue HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        b"POST /rpc/counter.getValue HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x=",
    ],
    ids=["URL", "header", "trailer", "extension of a chunk"],
)
def test_a_head_without_end_is_refused(service: Service, untouched: str, begin: bytes) -> None:
    with in_time(Bare(service)) as bare:
        bare.send(begin)
        with contextlib.suppress(OSError):  # It need not listen to the end.
            for _ in range(100):
                bare.send(b"x" * 2**14)
                time.sleep(0.001)
        assert bare.answer().status == 400


def test_trailers_are_no_headers(service: Service, counter: str) -> None:
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%b\r\n"
    trailers = b"Content-Type: text/plain\r\nOrigin: https://elsewhere.example\r\n"
    body = b'{"name":"%b"}' % counter.encode()
    chunks = b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers)
    with Bare(service) as bare:
        bare.send(head % (b"/rpc/counter.increment", b"") + chunks)
        assert bare.answer().status == 200
        bare.send(head % (b"/rpc/counter.increment", b"Expect: 100-continue\r\n"))
        assert bare.answer().status == 100
        bare.send(chunks)
        assert bare.answer().status == 200


@pytest.mark.parametrize("pause_s", [0, 0.1], ids=["at once", "head and body apart"])
def test_an_offer_of_http_2_is_passed_over(service: Service, counter: str, pause_s: float) -> None:
    """As Java's HttpClient and `curl --http2` make it with their first requests."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
    body = json.dumps({"name": counter}).encode()
    head = b"POST /rpc/counter.increment HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n"
    with Bare(service) as bare:
        for value in (1, 3):
            bare.send(head % (offer, len(body)))
            time.sleep(pause_s)
            bare.send(body + head % (b"", len(body)) + body)
            assert [json.loads(bare.answer().body)["value"] for _ in range(2)] == [value, value + 1]
        bare.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n%b\r\n" % offer)
        assert bare.answer().status == 200
        bare.send(b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n%b\r\n" % offer)
        assert bare.answer().status == 400


def test_chunks_and_pipelines_are_read(service: Service, counter: str) -> None:
    body = json.dumps({"name": counter}).encode()
    chunked = b"POST /rpc/counter.increment HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        b"1\r\n%c\r\n" % byte for byte in body
    )
    plain = b"POST /rpc/counter.increment HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with Bare(service) as bare:
        bare.send(chunked + b"0\r\n\r\n" + plain * 20 + chunked + b"0\r\n\r\n")
        values = [json.loads(bare.answer().body)["value"] for _ in range(22)]
        assert values == list(range(1, 23))


def test_an_answer_that_nobody_waits_for(service: Service, http: httpx.Client, counter: str) -> None:
    """The client goes at once; what it asked for is done, and nobody else notices."""
    body = json.dumps({"name": counter}).encode()
    head = b"POST /rpc/counter.increment HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    for _ in range(20):
        with Bare(service) as bare:
            bare.send(head + body)
    assert http.post("/rpc/counter.increment", json={"name": counter}).status_code == 200


# WebSocket

MESSAGES: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": b"increment",
    "cut off": b'{"type":"increment"',
    "not UTF-8": b'{"type":"increment","id":"\xff\xfe"}',
    "only bytes": b"\xff\xfe\xc0\x80",
    "half a surrogate": b'{"type":"increment","id":"\\ud800"}',
    "deep": b"[" * 30_000,
    "deep inside": b'{"type":"increment","amount":' + b"[" * 30_000,
    "deep and unknown": b'{"type":"ping","x":' + b'{"a":' * 10_000,
    "null": b"null",
    "a number": b"1",
    "a list": b'["increment"]',
    "no type": b'{"amount":1}',
    "an unknown type": b'{"type":"explode"}',
    "a type that is none": b'{"type":{"type":"increment"}}',
    "two types": b'{"type":"increment","type":"explode"}',
    "an unknown field": b'{"type":"increment","amount":1,"bogus":1}',
    "a field of another": b'{"type":"ping","id":"1"}',
    "amount 0": b'{"type":"increment","amount":0}',
    "amount 1.5": b'{"type":"increment","amount":1.5}',
    "amount as text": b'{"type":"decrement","amount":"1"}',
    "an amount beyond": b'{"type":"increment","amount":9007199254740992}',
    "a million digits": b'{"type":"increment","amount":' + b"9" * 60_000 + b"}",
    "no value": b'{"type":"setValue"}',
    "a value beyond": b'{"type":"setValue","value":-9007199254740992}',
    "an id that is none": b'{"type":"increment","id":7}',
    "an empty id": b'{"type":"increment","id":""}',
    "a long id": b'{"type":"increment","id":"' + b"i" * 201 + b'"}',
    "a filter of nothing known": b'{"type":"filter","events":["explode"]}',
    "a filter that is none": b'{"type":"filter"}',
    "noise": bytes(random.Random(2).choices(range(128), k=5_000)),
    "60 KB": b'{"type":"' + b"x" * 60_000 + b'"}',
}


@pytest.mark.parametrize("message", MESSAGES)
def test_bad_messages_are_answered_and_the_socket_stays(service: Service, untouched: str, message: str) -> None:
    with in_time(Bare(service)).upgrade(untouched) as bare:
        bare.send_frame(TEXT, MESSAGES[message], mask=b"\x12\x34\x56\x78")
        error = bare.read_message()
        assert (error["type"], error["code"]) == ("error", "COUNTER_VALIDATION_ERROR")
        assert error["message"]
        _still_talks(bare)


def test_an_error_names_the_message_that_it_answers(service: Service, untouched: str) -> None:
    with in_time(Bare(service)).upgrade(untouched) as bare:
        bare.send_frame(TEXT, b'{"type":"increment","amount":-5,"id":"mine"}')
        error = bare.read_message()
        assert (error["id"], error["data"]["field"]) == ("mine", "amount")


def test_binary_is_refused(service: Service, untouched: str) -> None:
    with in_time(Bare(service)).upgrade(untouched) as bare:
        for frames in (
            frame(BINARY, b'{"type":"increment"}'),
            frame(BINARY, b""),
            frame(OPEN_BINARY, b'{"type":') + frame(OPEN_CONTINUED, b'"incre') + frame(CONTINUED, b'ment"}'),
        ):
            bare.send(frames)
            assert bare.read_message()["code"] == "COUNTER_VALIDATION_ERROR"
            _still_talks(bare)


def test_fragments_are_one_message(service: Service, counter: str) -> None:
    message = b'{"type":"increment","amount":5,"id":"f"}'
    with in_time(Bare(service)).upgrade(counter, events="reset") as bare:
        for pieces in ([message], [message[:9], message[9:]], [b"", message, b""], [bytes((b,)) for b in message]):
            frames = [frame(OPEN_CONTINUED, piece, b"abcd") for piece in pieces]
            frames[0] = frame(OPEN_TEXT, pieces[0], b"abcd")
            bare.send(b"".join(frames) + frame(CONTINUED, b""))
            assert bare.read_message()["id"] == "f"


def test_a_ping_between_fragments_is_answered_at_once(service: Service, counter: str) -> None:
    with in_time(Bare(service)).upgrade(counter, events="reset") as bare:
        bare.send_frame(OPEN_TEXT, b'{"type":"incre')
        bare.send_frame(PING, b"still there?")
        assert bare.read_frame() == (0x8A, b"still there?")
        bare.send_frame(CONTINUED, b'ment"}')
        assert bare.read_message()["result"]["value"] == 1


def test_a_message_may_arrive_byte_by_byte(service: Service, counter: str) -> None:
    with in_time(Bare(service)).upgrade(counter, events="reset") as bare:
        for byte in frame(TEXT, b'{"type":"increment","id":"slow"}', b"wxyz"):
            bare.send(bytes((byte,)))
        assert bare.read_message()["id"] == "slow"


def test_many_messages_may_arrive_at_once(service: Service, counter: str) -> None:
    with in_time(Bare(service)).upgrade(counter, events="reset") as bare:
        bare.send(b"".join(frame(TEXT, b'{"type":"increment","id":"%d"}' % n, b"mask") for n in range(500)))
        assert [bare.read_message()["id"] for _ in range(500)] == [str(n) for n in range(500)]


@pytest.mark.parametrize(
    ("code", "frames"),
    [
        (1009, frame(TEXT, b"x" * 2**21)),
        (1009, frame(TEXT, b" " * (64 * 2**10 + 1))),
        (1009, frame(BINARY, b"x" * 2**17)),
        (1009, frame(OPEN_TEXT, b"x" * 40_000) + frame(CONTINUED, b"x" * 40_000)),
        (1009, bytes((TEXT, 0xFF)) + (2**62).to_bytes(8, "big") + b"mask"),
        (1002, frame(TEXT, b'{"type":"increment"}', mask=b"")),
        (1002, frame(0xC1, b"{}")),  # A reserved bit.
        (1002, frame(0x83, b"{}")),  # An unknown opcode.
        (1002, frame(CONTINUED, b"{}")),  # Continues nothing.
        (1002, frame(OPEN_TEXT, b"{") + frame(TEXT, b"}")),  # Begins anew in the middle.
        (1002, frame(0x09, b"ping")),  # A fragmented ping.
        (1002, frame(PING, b"x" * 126)),  # A long ping.
        (1002, frame(CLOSE, b"\x00")),  # Half a close code.
        (1002, frame(CLOSE, (1005).to_bytes(2, "big"))),  # A code that may not be sent.
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_what_is_no_websocket_is_closed_with_the_reason(
    service: Service, untouched: str, code: int, frames: bytes
) -> None:
    with in_time(Bare(service)).upgrade(untouched) as bare, Bare(service).upgrade(untouched) as other:
        with contextlib.suppress(OSError):  # It need not listen to the end.
            bare.send(frames)
        assert bare.read_close() == code
        _still_talks(other)


def test_who_sends_far_too_much_hears_why(service: Service, untouched: str) -> None:
    """All of it is sent before anything is read, and nothing of what the service says is lost by that."""
    for _ in range(5):
        with Bare(service).upgrade(untouched) as bare:
            bare.send(frame(TEXT, b"x" * 2**23))
            assert bare.read_close() == 1009


def test_ten_thousand_frames_of_garbage(service: Service, untouched: str) -> None:
    """Each is answered, and the socket can still be used."""
    chance = random.Random(3)
    bad = [message for message in MESSAGES.values() if len(message) < 200]
    with Bare(service).upgrade(untouched) as bare:
        answered = 0
        while answered < MANY:
            some = [frame(chance.choice((TEXT, TEXT, BINARY)), chance.choice(bad)) for _ in range(500)]
            bare.send(b"".join(some))
            for _ in some:
                assert bare.read_message()["type"] == "error"
            answered += len(some)
        _still_talks(bare)


@pytest.mark.parametrize("over", ["websocket", "http"])
def test_who_asks_and_does_not_read_is_not_served_for_ever(service: Service, untouched: str, over: str) -> None:
    """The service must not pile up answers in memory for a client that never takes them."""
    if over == "websocket":
        ask, answer_bytes = frame(TEXT), 150
    else:
        ask, answer_bytes = b"POST /rpc/counter.getValue HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 300
    with Bare(service, seconds=1.0) as bare:
        if over == "websocket":
            bare.upgrade(untouched)
        gateway = psutil.Process(service.gateways_of([bare.socket.getsockname()[1]])[bare.socket.getsockname()[1]])
        before, asked = gateway.memory_info().rss, 0
        try:
            while asked * answer_bytes < 60 * 2**20:
                bare.send(ask * 1_000)
                asked += 1_000
        except TimeoutError:
            pass  # It stopped listening: well done.
        _wait_until_idle(gateway)
        grown = gateway.memory_info().rss - before
    assert grown < 16 * 2**20, f"{asked} questions, and {grown / 2**20:.0f} MB of answers held"


def test_connections_that_come_and_go(service: Service, untouched: str) -> None:
    """Handshakes cut off at every place leave nothing behind."""
    path = f"/ws/counter/{untouched}?snapshot=1"
    handshake = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode() + frame(TEXT, b"ping")
    for length in range(0, len(handshake), 7):
        with Bare(service) as bare:
            bare.send(handshake[:length])
    begun = time.monotonic()
    with Bare(service).upgrade(untouched) as bare:
        _still_talks(bare)
    assert time.monotonic() - begun < ANSWER_S


def _wait_until_idle(process: psutil.Process) -> None:
    """Until it has worked off what it was sent, as far as it wants to."""

    def idle() -> bool:
        before = process.cpu_times()
        time.sleep(0.3)
        after = process.cpu_times()
        return after.user + after.system - before.user - before.system < 0.1

    wait_for("the gateway is idle", idle, 30)


def _still_talks(bare: Bare) -> None:
    bare.send_frame(TEXT, b'{"type":"ping"}')
    assert bare.read_message()["type"] == "pong"


def _code(status: int) -> str:
    return {400: "COUNTER_VALIDATION_ERROR", 413: "PAYLOAD_TOO_LARGE"}[status]
