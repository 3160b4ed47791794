"""Frames of a client in any pieces, from the first byte after the handshake to the last."""

from __future__ import annotations

import json
from asyncio import sleep
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import Status
from gateway.frames import text_frame
from gateway.keepalive import PERIOD_S, Keepalive
from gateway.session import Services, Session
from gateway.sockets import GOODBYE_S, MESSAGE_MIN, REST_S, TURN_MAX, CounterSocket
from tests.support.clock import HandClock
from tests.support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    client_frame,
    close_frame,
    closing,
    server_frames,
)
from tests.support.loop import jumping, settle
from tests.support.transport import RecordingTransport

SHORT_MAX = TURN_MAX // MESSAGE_MIN  # Short messages of one socket in a turn.

FRAME_MAX = 2_000

UPGRADE = (
    b"GET /ws/counter/votes HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Nobody:
    """The hub and the router, where they do not matter."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.touched: list[Session] = []
        self.delivers: list[Any] = []

    def full(self, name: str) -> bool:
        return False

    def touch(self, session: Session) -> None:
        self.touched.append(session)

    def flush(self) -> None:
        touched, self.touched = self.touched, []
        for session in touched:
            session.write_out()

    pressed = False

    def admits(self, name: str) -> bool:
        raise AssertionError("nobody is in a hurry")

    def submit(self, operation: Any, deliver: Any) -> None:
        self.log.append(operation.type)
        self.delivers.append(deliver)

    def join(self, subscriber: Any, snapshot: bool = False, since: int | None = None) -> None:
        self.log.append("join")

    def leave(self, subscriber: Any) -> None:
        self.log.append("leave")

    def lag(self, subscriber: Any) -> None:
        self.log.append("lag")

    def catch(self, subscriber: Any) -> None:
        self.log.append("catch")


class Recorder(Session):
    """A session that writes down what it is told before it answers."""

    __slots__ = ("heard",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.heard: list[bytes] = []

    def receive(self, data: bytes) -> None:
        self.heard.append(bytes(data))
        super().receive(data)

    def refuse_binary(self) -> None:
        self.heard.append(b"<binary>")
        super().refuse_binary()


class Line:
    """An adopted socket: bytes in, what the session heard and what was written out."""

    def __init__(self) -> None:
        self.transport = RecordingTransport()
        state = SimpleNamespace(connections=set(), tasks=set(), default_headers=[])
        config: Any = SimpleNamespace(
            loaded=True,
            loaded_app=None,
            root_path="",
            asgi_version="3.0",
            ws_max_size=FRAME_MAX,
            ws_ping_interval=None,
            ws_ping_timeout=None,
            ws_per_message_deflate=False,
        )
        self.nobody = Nobody()
        self.keepalive = Keepalive()
        self.socket = CounterSocket(config, state, {})  # type: ignore[arg-type]
        self.socket.connection_made(self.transport)
        services = Services(self.nobody, self.nobody, HandClock(), SimpleNamespace(next=lambda: "#1"))  # type: ignore[arg-type]
        self.session = Recorder(services, "votes", self.socket.write)
        self.connections = state.connections
        # The part of the handshake that the first bytes of a client depend on.
        self.socket.conn.receive_data(UPGRADE)
        request: Any
        [request] = self.socket.conn.events_received()
        self.socket.conn.send_response(self.socket.conn.accept(request))
        self.socket.conn.data_to_send()
        self.socket.handshake_complete = True
        self.socket.adopt(self.session, self.keepalive)
        self.session.subscribe("votes")

    def feed(self, *pieces: bytes) -> Line:
        for piece in pieces:
            if not self.transport.closed:  # A closed transport reads no more.
                self.socket.data_received(piece)
        return self

    def lose(self) -> None:
        self.socket.connection_lost(None)
        self.keepalive.close()

    @property
    def written(self) -> bytes:
        self.nobody.flush()
        return bytes(self.transport.written)

    @property
    def code(self) -> int | None:
        """The close code that was sent."""
        return closing(self.written)

    @property
    def texts(self) -> list[Any]:
        """The messages that were sent."""
        payloads = [frame.payload for frame in server_frames(self.written) if frame.opcode == TEXT]
        return [payload.decode() if payload == b"pong" else json.loads(payload) for payload in payloads]


def every_chopping(data: bytes) -> list[list[bytes]]:
    """As one piece, byte by byte, and in two pieces at every place; at the ends only where it is long."""
    places = range(1, len(data)) if len(data) < 300 else [*range(1, 40), *range(len(data) - 40, len(data))]
    return [[data], [bytes([byte]) for byte in data], *([data[:place], data[place:]] for place in places)]


def long_message(length: int) -> bytes:
    """A ping of this length."""
    body = b'{"type":"ping"' + b" " * (length - 15) + b"}"
    assert len(body) == length
    return body


MIXED = [
    client_frame(b"ping"),
    client_frame(long_message(125)),
    client_frame(long_message(126)),
    client_frame(b"are you there", PING),
    client_frame(long_message(127)),
    client_frame(b'{"type":', fin=False),
    client_frame(b"", PING),
    client_frame(b'"pi', CONTINUATION, fin=False),
    client_frame(b"whatever", PONG),
    client_frame(b'ng"}', CONTINUATION),
    client_frame(b"\x00\x01", BINARY),
    client_frame(b"\x00", BINARY, fin=False),
    client_frame(b"\x01", CONTINUATION),
    client_frame(b""),
    client_frame(long_message(FRAME_MAX)),
    client_frame(b'{"type":"increment"}'),
]
HEARD = [
    b"ping",
    long_message(125),
    long_message(126),
    long_message(127),
    b'{"type":"ping"}',
    b"<binary>",
    b"<binary>",
    b"",
    long_message(FRAME_MAX),
    b'{"type":"increment"}',
]


class TestMessages:
    @given(st.lists(st.integers(0, sum(map(len, MIXED))), max_size=30))
    def test_any_pieces_are_the_same_messages(self, cuts: list[int]) -> None:
        @jumping
        async def play() -> None:
            data = b"".join(MIXED)
            places = sorted(cuts)
            line = Line().feed(*(data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)))
            assert line.session.heard == HEARD
            pongs = [frame.payload for frame in server_frames(line.written) if frame.opcode == PONG]
            assert pongs == [b"are you there", b""]
            assert not line.transport.closed
            assert line.nobody.log == ["join", "increment"]
            line.lose()

        play()

    @jumping
    async def test_byte_by_byte(self) -> None:
        data = b"".join(MIXED)
        line = Line().feed(*(bytes([byte]) for byte in data))
        assert line.session.heard == HEARD
        line.lose()

    @pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 128, 1_999, FRAME_MAX])
    def test_every_length_and_every_chopping(self, length: int) -> None:
        body = b"x" * length

        @jumping
        async def play() -> None:
            for pieces in every_chopping(client_frame(body) + client_frame(b"ping")):
                line = Line().feed(*pieces)
                assert line.session.heard == [body, b"ping"]
                line.lose()

        play()

    @jumping
    async def test_a_length_of_64_bits(self) -> None:
        """Not the shortest form, but every library sends it somewhere."""
        line = Line()
        head = bytes([0x81, 0x80 | 127]) + (4).to_bytes(8, "big") + b"\x00\x00\x00\x00"
        line.feed(head + b"ping", client_frame(b"ping"))
        assert line.session.heard == [b"ping", b"ping"] or line.code == 1002
        line.lose()

    @jumping
    async def test_any_mask(self) -> None:
        for mask in (b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x01\x02\x03\x04"):
            line = Line().feed(client_frame(b'{"type":"ping"}', mask=mask))
            assert line.session.heard == [b'{"type":"ping"}']
            line.lose()

    @pytest.mark.parametrize(
        "body",
        [b"\xff", b"\xc3\x28", b'{"type":"ping"\xff}', b'{"id":"\xff","type":"increment"}', b"ping\xff", b"\x00"],
    )
    def test_what_is_no_text_is_answered_and_not_closed(self, body: bytes) -> None:
        @jumping
        async def play() -> None:
            for pieces in (
                [client_frame(body)],
                [client_frame(body[:1], fin=False), client_frame(body[1:], CONTINUATION)],
            ):
                line = Line().feed(*pieces, client_frame(b"ping"))
                error, pong = line.texts
                assert (error["code"], pong) == ("COUNTER_VALIDATION_ERROR", "pong")
                assert not line.transport.closed
                line.lose()

        play()

    @jumping
    async def test_a_binary_message_is_answered_and_not_closed(self) -> None:
        line = Line().feed(client_frame(b'{"type":"ping"}', BINARY), client_frame(b"ping"))
        error, pong = line.texts
        assert (error["type"], error["code"], pong) == ("error", "COUNTER_VALIDATION_ERROR", "pong")
        assert not line.transport.closed
        line.lose()

    @jumping
    async def test_what_a_client_says_twice_in_a_frame_of_its_own_is_heard_twice(self) -> None:
        line = Line().feed(client_frame(b"ping") * 500)
        await sleep(10 * REST_S)
        assert line.texts == ["pong"] * 500
        line.lose()

    @jumping
    async def test_a_flood_on_one_socket_does_not_hold_up_another(self) -> None:
        flood, other = Line(), Line()
        flood.feed(client_frame(b"ping") * (3 * SHORT_MAX))
        assert (len(flood.session.heard), flood.transport.reading) == (SHORT_MAX, False)
        # While it waits for its next turn, nothing more is read from it.
        await sleep(REST_S)
        await settle()
        assert len(flood.session.heard) == 2 * SHORT_MAX
        other.feed(client_frame(b"ping"))
        assert other.texts == ["pong"]
        await sleep(3 * REST_S)
        assert (len(flood.session.heard), flood.transport.reading) == (3 * SHORT_MAX, True)
        flood.feed(client_frame(b"ping"))
        assert len(flood.session.heard) == 3 * SHORT_MAX + 1
        flood.lose()
        other.lose()

    @jumping
    async def test_long_messages_count_for_more(self) -> None:
        message = long_message(FRAME_MAX - 100)
        flood = Line().feed(client_frame(message) * 20)
        assert len(flood.session.heard) == -(-TURN_MAX // len(message))
        await sleep(3 * REST_S)
        assert len(flood.session.heard) == 20
        flood.lose()

    @jumping
    async def test_what_arrives_all_the_same_waits_behind_what_is_here(self) -> None:
        line = Line().feed(client_frame(b"ping") * (SHORT_MAX + 1))
        line.feed(client_frame(b'{"type":"ping"}')[:5], client_frame(b'{"type":"ping"}')[5:])
        await sleep(3 * REST_S)
        assert [text if text == "pong" else text["type"] for text in line.texts] == ["pong"] * (SHORT_MAX + 2)
        assert line.session.heard[-1] == b'{"type":"ping"}'
        line.lose()

    @jumping
    async def test_a_flood_from_one_who_does_not_read_goes_on_when_it_reads(self) -> None:
        line = Line().feed(client_frame(b"ping") * (SHORT_MAX + 9))
        line.socket.pause_writing()
        await sleep(3 * REST_S)
        assert len(line.session.heard) == SHORT_MAX
        line.socket.resume_writing()
        assert (len(line.session.heard), line.transport.reading) == (SHORT_MAX + 9, True)
        line.lose()

    @jumping
    async def test_a_flood_is_answered_to_its_end_when_the_gateway_stops(self) -> None:
        line = Line().feed(client_frame(b"ping") * (3 * SHORT_MAX))
        line.socket.shutdown()
        await sleep(3 * REST_S)
        frames = server_frames(line.written)
        assert [frame.opcode for frame in frames] == [TEXT] * 3 * SHORT_MAX + [CLOSE]
        line.lose()

    @jumping
    async def test_a_flood_ends_with_its_socket(self) -> None:
        line = Line().feed(client_frame(b"ping") * (3 * SHORT_MAX))
        line.lose()
        await sleep(3 * REST_S)
        assert len(line.session.heard) == SHORT_MAX


class TestControlFrames:
    @pytest.mark.parametrize("payload", [b"", b"x", b"x" * 125])
    def test_a_ping_is_answered_with_its_payload(self, payload: bytes) -> None:
        @jumping
        async def play() -> None:
            for pieces in every_chopping(client_frame(payload, PING)):
                line = Line().feed(*pieces)
                assert server_frames(line.written) == [(PONG, payload)]
                assert line.session.heard == []
                line.lose()

        play()

    @jumping
    async def test_a_ping_between_fragments(self) -> None:
        pieces = [
            client_frame(b'{"type"', fin=False),
            client_frame(b"p", PING),
            client_frame(b':"ping"}', CONTINUATION),
        ]
        for chopped in every_chopping(b"".join(pieces)):
            line = Line().feed(*chopped)
            assert line.session.heard == [b'{"type":"ping"}']
            assert server_frames(line.written)[0] == (PONG, b"p")
            line.lose()

    @pytest.mark.parametrize("payload", [b"", b"x", b"x" * 125])
    def test_a_pong_is_heard_and_not_answered(self, payload: bytes) -> None:
        @jumping
        async def play() -> None:
            line = Line()
            line.socket.pinged, line.socket.heard = True, False
            line.feed(client_frame(payload, PONG))
            assert (line.written, line.socket.heard, line.socket.pinged) == (b"", True, False)
            line.lose()

        play()

    @pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
    def test_a_close_is_echoed_and_the_session_ends(self, code: int) -> None:
        @jumping
        async def play() -> None:
            for pieces in every_chopping(close_frame(code, "bye")):
                line = Line().feed(*pieces)
                assert (line.code, line.transport.closed) == (code, True)
                assert line.nobody.log == ["join", "leave"]
                line.lose()
                assert line.nobody.log == ["join", "leave"]

        play()

    @jumping
    async def test_a_close_without_a_code(self) -> None:
        line = Line().feed(client_frame(b"", CLOSE))
        assert server_frames(line.written) == [(CLOSE, b"")]
        assert line.transport.closed
        line.lose()

    @jumping
    async def test_nothing_is_heard_after_a_close(self) -> None:
        increment = client_frame(b'{"type":"increment"}')
        line = Line().feed(increment + close_frame() + increment)
        assert line.nobody.log.count("increment") == 1
        line.lose()

    @jumping
    async def test_what_was_answered_before_the_close_arrives_before_it(self) -> None:
        line = Line().feed(client_frame(b"ping") + close_frame())
        assert [frame.opcode for frame in server_frames(line.written)] == [TEXT, CLOSE]
        line.lose()


UNMASKED = client_frame(b"ping", mask=None)
OVERSIZE = client_frame(b"x" * (FRAME_MAX + 1))


class TestViolations:
    """The peer is told the code of RFC 6455, section 7.4.1, and nothing that follows is heard."""

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (UNMASKED, 1002),
            (client_frame(b"", mask=None), 1002),
            (client_frame(b"x" * 200, mask=None), 1002),
            (client_frame(b"p", PING, mask=None), 1002),
            (OVERSIZE, 1009),
            (bytes([0x81, 0xFF]) + (2**40).to_bytes(8, "big") + b"mask", 1009),
            (bytes([0x81, 0xFF]) + (2**62 + 7).to_bytes(8, "big") + b"mask", 1009),
            (bytes([0x81, 0xFF]) + (2**63).to_bytes(8, "big") + b"mask", None),
            (bytes([0x82, 0xFF]) + (FRAME_MAX + 1).to_bytes(8, "big") + b"mask", 1009),
            (client_frame(b"ping", rsv=4), 1002),
            (client_frame(b"ping", rsv=1), 1002),
            (client_frame(b"ping", 0x3), 1002),
            (client_frame(b"ping", 0xB), 1002),
            (client_frame(b"ping", CONTINUATION), 1002),
            (client_frame(b"a", fin=False) + client_frame(b"b"), 1002),
            (client_frame(b"a", fin=False) + client_frame(b"b", BINARY), 1002),
            (client_frame(b"p", PING, fin=False), 1002),
            (client_frame(b"p" * 126, PING), 1002),
            (client_frame(b"p" * 126, PONG), 1002),
            (client_frame(b"c", CLOSE), 1002),
            (close_frame(1005), 1002),
            (close_frame(999), 1002),
            (client_frame(b"\x03\xe8\xff", CLOSE), 1007),
            (client_frame(b"x" * 1_500, fin=False) + client_frame(b"x" * 1_500, CONTINUATION), 1009),
        ],
    )
    def test_in_whatever_pieces(self, data: bytes, code: int | None) -> None:
        @jumping
        async def play() -> None:
            for pieces in every_chopping(data):
                line = Line().feed(client_frame(b"ping"), *pieces, client_frame(b'{"type":"increment"}'))
                found = line.code
                assert found == code or (code is None and found in (1002, 1009)), [piece.hex() for piece in pieces]
                assert line.transport.ended
                assert line.session.heard == [b"ping"]
                assert line.nobody.log == ["join", "leave"]
                line.lose()

        play()

    @jumping
    async def test_garbage(self) -> None:
        line = Line().feed(b"GET / HTTP/1.1\r\n\r\n")
        assert line.transport.ended
        line.lose()

    @jumping
    async def test_what_is_still_sent_is_taken_so_that_the_code_is_not_lost(self) -> None:
        """Closing over what was not read resets a connection, and then nobody reads a code."""
        line = Line().feed(OVERSIZE[:100])
        assert (line.code, line.transport.closed, line.transport.reading) == (1009, False, True)
        line.feed(OVERSIZE[100:], client_frame(b"ping"))
        await sleep(GOODBYE_S * 0.9)
        assert not line.transport.closed
        await sleep(GOODBYE_S * 0.2)
        assert line.transport.closed
        assert (len(server_frames(line.written)), line.session.heard) == (1, [])
        line.lose()

    @given(st.lists(st.binary(max_size=40), max_size=10))
    def test_any_bytes_are_survived(self, pieces: list[bytes]) -> None:
        @jumping
        async def play() -> None:
            line = Line().feed(*pieces)
            server_frames(line.written)
            line.lose()
            assert line.nobody.log[-1] == "leave"
            assert line.connections == set()

        play()


class TestSlowReaders:
    @jumping
    async def test_who_does_not_read_is_not_read_from(self) -> None:
        line = Line()
        line.socket.pause_writing()
        assert (line.session.blocked, line.transport.reading) == (True, False)
        line.socket.resume_writing()
        assert (line.session.blocked, line.transport.reading) == (False, True)
        assert line.nobody.log == ["join", "lag", "catch"]
        line.lose()

    @jumping
    async def test_nor_while_what_it_was_behind_with_is_too_much_again(self) -> None:
        line = Line()
        line.socket.pause_writing()
        with patch.object(line.nobody, "catch", lambda subscription: line.socket.pause_writing()):
            line.socket.resume_writing()
        assert (line.session.blocked, line.transport.reading) == (True, False)
        line.socket.resume_writing()
        assert (line.session.blocked, line.transport.reading) == (False, True)
        line.lose()

    @jumping
    async def test_the_buffer_is_bounded(self) -> None:
        line = Line()
        assert line.transport.high == 32 * 2**10
        line.lose()


class TestTheEnd:
    @jumping
    async def test_a_socket_that_is_lost_leaves_everything(self) -> None:
        line = Line()
        line.lose()
        assert (line.nobody.log, line.connections) == (["join", "leave"], set())
        line.socket.write(text_frame(b"late"))

    @jumping
    async def test_nothing_is_written_to_a_closing_socket(self) -> None:
        line = Line()
        line.transport.close()
        line.socket.write(text_frame(b"late"))
        line.socket.ping()
        assert line.written == b""
        line.lose()

    @jumping
    async def test_a_gateway_that_stops_says_so_and_when_to_come_back(self) -> None:
        line = Line()
        line.socket.shutdown()
        [(opcode, payload)] = server_frames(line.written)
        assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, 1012)
        assert json.loads(payload[2:]) == {"reconnect": [0, 5]}
        assert line.nobody.log == ["join", "leave"]
        line.socket.shutdown()
        # What was on its way is read, for nothing, until the client has said goodbye, too.
        line.feed(client_frame(b'{"type":"increment"}') * 3 + close_frame(1012)[:3])
        assert not line.transport.closed
        line.feed(close_frame(1012)[3:])
        assert line.transport.closed
        assert len(server_frames(line.written)) == 1
        line.lose()
        assert line.nobody.log == ["join", "leave"]

    @jumping
    async def test_a_client_that_does_not_say_goodbye_is_not_waited_for(self) -> None:
        line = Line()
        line.socket.shutdown()
        await sleep(GOODBYE_S * 0.9)
        assert not line.transport.closed
        await sleep(GOODBYE_S * 0.2)
        assert line.transport.closed
        line.lose()

    @jumping
    async def test_what_is_under_way_is_answered_first(self) -> None:
        line = Line()
        line.feed(client_frame(b'{"type":"increment","id":"1"}'), client_frame(b'{"type":"reset","id":"2"}'))
        line.socket.shutdown()
        # Nothing more is read meanwhile, and a slow reader that reads again changes nothing about that.
        assert (line.written, line.transport.reading) == (b"", False)
        line.socket.pause_writing()
        line.socket.resume_writing()
        assert not line.transport.reading
        for deliver in line.nobody.delivers:
            deliver(Status.OK, b"{}")
        answers, [goodbye] = line.texts, server_frames(line.written)[2:]
        assert [answer["type"] for answer in answers] == ["incrementResult", "resetResult"]
        assert (goodbye.opcode, line.transport.reading) == (CLOSE, True)
        line.feed(close_frame(1012))
        assert line.transport.closed
        line.lose()

    @jumping
    async def test_a_client_that_leaves_meanwhile_is_let_go(self) -> None:
        line = Line()
        line.feed(client_frame(b'{"type":"increment","id":"1"}'))
        line.socket.shutdown()
        line.lose()
        line.transport.closed = True
        line.nobody.delivers[0](Status.OK, b"{}")
        assert line.code is None


class TestKeepalive:
    """A peer that is gone without a word is found, one that is there is left alone."""

    class Peer:
        def __init__(self) -> None:
            self.heard = self.pinged = self.blocked = False
            self.log: list[str] = []

        def ping(self) -> None:
            self.log.append("ping")

        def give_up(self) -> None:
            self.log.append("give up")

    @jumping
    async def test_a_silent_peer_is_asked_once_and_then_given_up(self) -> None:
        keepalive, peer = Keepalive(), self.Peer()
        keepalive.add(peer)
        await sleep(PERIOD_S)
        assert peer.log == ["ping"]
        await sleep(PERIOD_S)
        assert peer.log == ["ping", "give up"]
        keepalive.close()

    @jumping
    async def test_a_peer_that_speaks_is_not_asked(self) -> None:
        keepalive, peer = Keepalive(), self.Peer()
        keepalive.add(peer)
        for _ in range(100):
            peer.heard = True
            await sleep(PERIOD_S / 2)
        assert peer.log == []
        keepalive.close()

    @jumping
    async def test_a_peer_that_answers_is_kept_for_ever(self) -> None:
        keepalive, peer = Keepalive(), self.Peer()
        keepalive.add(peer)
        for _ in range(10 * PERIOD_S):
            await sleep(1)
            if peer.pinged:
                peer.heard, peer.pinged = True, False
        assert set(peer.log) == {"ping"}
        keepalive.close()

    @jumping
    async def test_a_peer_that_has_much_to_read_yet_is_excused(self) -> None:
        keepalive, peer = Keepalive(), self.Peer()
        keepalive.add(peer)
        await sleep(PERIOD_S)
        assert peer.log == ["ping"]
        peer.blocked = True
        await sleep(10 * PERIOD_S)
        assert peer.log == ["ping"]
        peer.blocked = False
        await sleep(PERIOD_S)
        assert peer.log == ["ping", "ping"]
        await sleep(PERIOD_S)
        assert peer.log == ["ping", "ping", "give up"]
        keepalive.close()

    @jumping
    async def test_they_are_spread_over_the_period(self) -> None:
        keepalive, peers = Keepalive(), [self.Peer() for _ in range(3 * PERIOD_S)]
        parts = [keepalive.add(peer) for peer in peers]
        await sleep(1.5)
        assert sum(len(peer.log) for peer in peers) == 3
        for part, peer in zip(parts, peers, strict=True):
            keepalive.discard(part, peer)
        await sleep(10 * PERIOD_S)
        assert sum(len(peer.log) for peer in peers) == 3
        keepalive.close()
