"""The link: frames out of any pieces, and both of its ends without a socket in between."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import link
from actors.link import FRAME_MAX, FrameReader, GatewayEnd, HostEnd, LinkBroken, frame
from actors.messages import (
    Burst,
    Down,
    Events,
    Heartbeat,
    Hello,
    Operate,
    Operation,
    Position,
    Query,
    Results,
    Status,
    Unwatch,
    Up,
    Watch,
    Welcome,
)
from tests.support.loop import jumping, settle
from tests.support.transport import RecordingTransport

SECRET = "tell nobody"


class House:
    """What a host does with its links: here it writes everything down."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.log: list[str] = []
        self.closes = False  # Every link, at once.

    def link_opened(self, link: HostEnd) -> None:
        self.log.append(f"opened {link.gateway}")
        if self.closes:
            link.close()

    def link_closed(self, link: HostEnd) -> None:
        self.log.append(f"closed {link.gateway}")

    def receive(self, link: HostEnd, message: Any) -> None:
        self.heard.append(message)


def host_end(secret: str | None = SECRET) -> tuple[House, HostEnd, RecordingTransport]:
    """A host's end; `secret`: what the gateway said already, None: nothing."""
    house = House()
    end, transport = HostEnd(house, "h", SECRET), RecordingTransport()
    end.connection_made(transport)
    if secret is not None:
        end.data_received(bytes(frame(Hello(secret, "g"))))
        transport.take()
    return house, end, transport


def said(transport: RecordingTransport, type: Any = Up) -> list[Any]:
    """What was written, as the other side reads it."""
    decode = msgspec.msgpack.Decoder(type).decode
    return [decode(payload) for payload in FrameReader().feed(transport.take())]


class TestFrames:
    @given(st.lists(st.binary(max_size=300), max_size=8), st.data())
    def test_any_chopping_gives_the_same_payloads(self, payloads: list[bytes], data: st.DataObject) -> None:
        stream = b"".join(len(payload).to_bytes(4, "big") + payload for payload in payloads)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
        reader = FrameReader()
        found = []
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            found += [bytes(payload) for payload in reader.feed(stream[start:end])]
        assert found == payloads

    def test_byte_by_byte(self) -> None:
        stream = bytes(frame(Heartbeat(7))) + bytes(frame(Welcome("h")))
        reader = FrameReader()
        found = [payload for byte in stream for payload in reader.feed(bytes([byte]))]
        assert [msgspec.msgpack.decode(payload, type=Up) for payload in found] == [Heartbeat(7), Welcome("h")]

    @pytest.mark.parametrize("length", [FRAME_MAX + 1, 2**32 - 1])
    def test_an_impossible_length_breaks_the_link_before_anything_is_kept(self, length: int) -> None:
        with pytest.raises(LinkBroken):
            FrameReader().feed(length.to_bytes(4, "big"))

    def test_somebody_who_speaks_http(self) -> None:
        with pytest.raises(LinkBroken):
            FrameReader().feed(b"GET / HTTP/1.1\r\n\r\n")

    def test_a_frame_of_the_greatest_length_is_waited_for(self) -> None:
        assert FrameReader().feed(FRAME_MAX.to_bytes(4, "big") + b"x" * 100) == []

    @pytest.mark.parametrize(
        "message",
        [
            Hello("s", "g"),
            Operate(3, [Operation(1, "votes", "increment", 5, "x")]),
            Operate(3, [Operation(1, "votes", "create", 0, "x", True, "ann", "why", {"minimum": None, "initial": 2})]),
            Query(1, "history", ["votes"], 50, 7, "cursor"),
            Query(1, "value", ["votes"]),
            Watch([("votes", -1, 0), ("x", 5, 2**53)]),
            Unwatch(["votes"]),
        ],
    )
    def test_what_goes_down_arrives_as_it_was(self, message: Any) -> None:
        [payload] = FrameReader().feed(bytes(frame(message)))
        assert msgspec.msgpack.decode(payload, type=Down) == message

    @pytest.mark.parametrize(
        "message",
        [
            Welcome("h"),
            Results([(1, 0, b"{}"), (2**40, 3, b"")]),
            Events([Burst("votes", 4, 9, ["increment", "reset"], [b"a", b"b"])]),
            Position("votes", 4, 9, b"{}"),
            Heartbeat(2**50),
        ],
    )
    def test_what_goes_up_arrives_as_it_was(self, message: Any) -> None:
        [payload] = FrameReader().feed(bytes(frame(message)))
        assert msgspec.msgpack.decode(payload, type=Up) == message


class TestTheHostsEnd:
    @jumping
    async def test_whoever_knocks_hears_a_heartbeat_and_nothing_else(self) -> None:
        house, _, transport = host_end(secret=None)
        assert said(transport) == [Heartbeat(0)]
        assert house.log == []

    @jumping
    async def test_the_right_secret_opens(self) -> None:
        house, end, transport = host_end(secret=None)
        transport.take()
        end.data_received(bytes(frame(Hello(SECRET, "g"))))
        assert said(transport) == [Welcome("h")]
        assert (house.log, transport.closed) == (["opened g"], False)

    @jumping
    async def test_a_host_may_close_it_and_what_came_along_is_not_read(self) -> None:
        house, end, transport = host_end(secret=None)
        house.closes = True
        end.data_received(bytes(frame(Hello(SECRET, "g", 7)) + frame(Unwatch(["x"]))))
        assert transport.closed
        assert (end.number, house.log, house.heard) == (7, ["opened g"], [])

    @pytest.mark.parametrize("secret", ["", "wrong", SECRET + " ", "tell nobodý", "\x00"])
    def test_a_wrong_secret_ends_the_link_and_the_host_never_hears_of_it(self, secret: str) -> None:
        @jumping
        async def play() -> None:
            house, end, transport = host_end(secret=None)
            transport.take()
            end.data_received(bytes(frame(Hello(secret, "g")) + frame(Unwatch(["x"]))))
            assert transport.closed
            end.connection_lost(None)
            assert (house.log, house.heard, transport.take()) == ([], [], b"")

        play()

    @pytest.mark.parametrize(
        "data",
        [
            bytes(frame(Unwatch(["x"]))),
            bytes(frame(Operate(1, []))),
            (3).to_bytes(4, "big") + b"\xc1\xc1\xc1",
            (5).to_bytes(4, "big") + b"\x93\x01\xa1\xff\xa0",
            (0).to_bytes(4, "big"),
            b"GET / HTTP/1.1\r\n\r\n",
            (FRAME_MAX + 1).to_bytes(4, "big"),
            bytes(frame(Heartbeat(1))),
        ],
    )
    @pytest.mark.parametrize("trusted", [False, True])
    def test_what_is_not_ours_ends_the_link(self, data: bytes, trusted: bool) -> None:
        @jumping
        async def play() -> None:
            house, end, transport = host_end(SECRET if trusted else None)
            end.data_received(data)
            known = trusted and house.heard
            assert transport.closed != bool(known)
            end.connection_lost(None)
            assert house.log == (["opened g", "closed g"] if trusted else [])

        play()

    @jumping
    async def test_what_the_host_says_in_one_turn_leaves_in_one_frame_of_each_kind(self) -> None:
        _, end, transport = host_end()
        end.answer(1, Status.OK, b"one")
        end.publish(Burst("votes", 1, 1, ["increment"], [b"{}"]))
        end.answer(2, Status.MOVED, b"")
        end.publish(Burst("other", 2, 1, ["increment"], [b"{}"]))
        assert said(transport) == []
        await settle()
        results, events = said(transport)
        assert results.results == [(1, 0, b"one"), (2, 2, b"")]
        assert [burst.name for burst in events.bursts] == ["votes", "other"]

    @jumping
    async def test_a_position_leaves_behind_what_was_said_before_it(self) -> None:
        _, end, transport = host_end()
        end.publish(Burst("votes", 1, 1, ["increment"], [b"{}"]))
        end.place(Position("votes", 1, 1, b"{}"))
        end.publish(Burst("votes", 1, 2, ["increment"], [b"{}"]))
        await settle()
        assert [type(message) for message in said(transport)] == [Events, Position, Events]

    @jumping
    async def test_a_gateway_that_does_not_read_is_cut_off(self) -> None:
        _, end, transport = host_end()
        end.beat(1)
        assert not transport.aborted
        transport.backlog = link.BACKLOG_MAX + 1
        end.beat(1)
        assert transport.aborted

    @jumping
    async def test_nothing_is_said_on_a_link_that_is_gone(self) -> None:
        house, end, transport = host_end()
        end.answer(1, Status.OK, b"")
        end.connection_lost(None)
        end.publish(Burst("votes", 1, 1, ["increment"], [b"{}"]))
        end.place(Position("votes", 1, 1, b"{}"))
        end.beat(1)
        end.pause()
        end.resume()
        end.close()
        await settle()
        assert (transport.take(), transport.closed, house.log[-1]) == (b"", False, "closed g")

    @jumping
    async def test_the_host_decides_when_it_is_read_from(self) -> None:
        _, end, transport = host_end()
        end.pause()
        assert not transport.reading
        end.resume()
        assert transport.reading


class TestTheGatewaysEnd:
    @staticmethod
    def end() -> tuple[GatewayEnd, RecordingTransport, list[Any]]:
        heard: list[Any] = []
        end = GatewayEnd(Hello(SECRET, "g"), heard.append, lambda end: heard.append("end"))
        transport = RecordingTransport()
        end.connection_made(transport)
        return end, transport, heard

    def test_it_introduces_itself_first(self) -> None:
        _, transport, _ = self.end()
        assert said(transport, Down) == [Hello(SECRET, "g")]

    @given(st.integers(1, 40))
    def test_it_passes_on_every_record_from_any_pieces(self, size: int) -> None:
        end, _, heard = self.end()
        messages = [Welcome("h"), Heartbeat(1), Results([(1, 0, b"x" * 50)]), Position("votes", 1, 1, b"{}")]
        stream = b"".join(bytes(frame(message)) for message in messages)
        for start in range(0, len(stream), size):
            end.data_received(stream[start : start + size])
        assert heard == messages

    @pytest.mark.parametrize("payload", [b"\xc1\xc1\xc1", b"", b"\x92\x06\xa1\xff", b"\x92\x01\xa1x"])
    def test_garbage_ends_the_link(self, payload: bytes) -> None:
        end, transport, heard = self.end()
        end.data_received(len(payload).to_bytes(4, "big") + payload)
        assert (transport.aborted, heard) == (True, [])

    def test_the_end_is_told_once(self) -> None:
        end, transport, heard = self.end()
        end.connection_lost(ConnectionResetError())
        transport.take()
        end.send(Unwatch(["x"]))
        end.close()
        assert (heard, transport.take()) == (["end"], b"")

    def test_it_holds_back_while_the_host_does_not_keep_up(self) -> None:
        end, transport, _ = self.end()
        drained: list[bool] = []
        assert transport.high == 2**20
        end.pause_writing()
        assert not end.writable
        end.resume_writing()
        end.on_drained = lambda: drained.append(end.writable)
        end.pause_writing()
        end.resume_writing()
        assert drained == [True]
