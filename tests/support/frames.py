"""Frames of a WebSocket client, and what a client reads from a server's bytes. Written from RFC 6455, section 5."""

from __future__ import annotations

from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class ServerFrame(NamedTuple):
    opcode: int
    payload: bytes


def client_frame(
    payload: bytes, opcode: int = TEXT, fin: bool = True, rsv: int = 0, mask: bytes | None = b"\x37\xfa\x21\x3d"
) -> bytes:
    """One frame as a client sends it."""
    length = len(payload)
    masked = 0 if mask is None else 0x80
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if length < 126:
        head += bytes([masked | length])
    elif length < 65_536:
        head += bytes([masked | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([masked | 127]) + length.to_bytes(8, "big")
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def close_frame(code: int = 1000, reason: str = "") -> bytes:
    return client_frame(code.to_bytes(2, "big") + reason.encode(), CLOSE)


def server_frames(data: bytes) -> list[ServerFrame]:
    """The frames in `data`, which has to be whole frames, each unmasked and final."""
    frames = []
    while data:
        assert data[0] & 0xF0 == 0x80, "not a final frame without extensions"
        assert not data[1] & 0x80, "a server does not mask"
        length, head = data[1] & 0x7F, 2
        if length == 126:
            length, head = int.from_bytes(data[2:4], "big"), 4
            assert length >= 126, "not the shortest form"
        elif length == 127:
            length, head = int.from_bytes(data[2:10], "big"), 10
            assert length >= 65_536, "not the shortest form"
        assert len(data) >= head + length, "half a frame"
        frames.append(ServerFrame(data[0] & 0x0F, data[head : head + length]))
        data = data[head + length :]
    return frames


def messages(data: bytes) -> list[bytes]:
    """The text messages in `data`, which has to hold nothing else."""
    found = server_frames(data)
    assert all(frame.opcode == TEXT for frame in found), found
    return [frame.payload for frame in found]


def closing(data: bytes) -> int | None:
    """The code of the close frame that ends `data`; None: there is none."""
    found = server_frames(data)
    if not found or found[-1].opcode != CLOSE:
        return None
    return int.from_bytes(found[-1].payload[:2], "big")
