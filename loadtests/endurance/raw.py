"""Bare sockets, for what no client library would do: not read, stop in the middle, send nonsense.

Frames are made and read here by hand (RFC 6455, section 5).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN = 0x80
_HEAD_END = b"\r\n\r\n"
_HANDSHAKE_MAX = 64 * 2**10


class RefusedError(Exception):
    """The handshake was answered with something other than 101."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body
        super().__init__(f"{status} {body[:300]!r}")


def client_frame(payload: bytes, opcode: int = TEXT, fin: bool = True) -> bytes:
    """A frame as a client sends it. The mask is zero: it has to be there, not to hide anything."""
    length = len(payload)
    first = (FIN if fin else 0) | opcode
    if length < 126:
        head = struct.pack("!BB", first, 0x80 | length)
    elif length < 65_536:
        head = struct.pack("!BBH", first, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, length)
    return head + b"\0\0\0\0" + payload


class Frames:
    """Cuts what a server sends into (opcode, payload)."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames that are complete with `data`. Take them all before feeding more."""
        data = self._pending + data
        at, end = 0, len(data)
        while end - at >= 2:
            length, head = data[at + 1] & 0x7F, 2
            if length == 126:
                length, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
            elif length == 127:
                length, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
            if end - at < head + length:
                break
            payload = data[at + head : at + head + length]
            yield data[at] & 0x0F, payload
            at += head + length
        self._pending = data[at:]


def close_code(payload: bytes) -> int:
    """The code in a close frame; 1005 when there is none."""
    return int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005


async def upgraded(port: int, path: str, receive_buffer: int | None = None) -> tuple[socket.socket, bytes]:
    """A TCP connection that has become a WebSocket, and what came with the answer: the beginning of frames.

    Nothing reads it until somebody does. `receive_buffer` is the kernel's, in bytes. Raises `RefusedError`.
    """
    loop = asyncio.get_running_loop()
    one = socket.socket()
    try:
        one.setblocking(False)
        if receive_buffer is not None:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await loop.sock_connect(one, ("127.0.0.1", port))
        await loop.sock_sendall(one, handshake(path))
        data = b""
        while _HEAD_END not in data:
            more = await loop.sock_recv(one, 4096)
            if not more or len(data) > _HANDSHAKE_MAX:
                raise ConnectionError(f"no answer to a handshake, but {data[:200]!r}")
            data += more
        status = int(data[9:12])
        begun = data.partition(_HEAD_END)[2]
        if status != 101:
            raise RefusedError(status, begun)
    except BaseException:
        one.close()
        raise
    return one, begun


def handshake(path: str) -> bytes:
    """The request that makes a connection a WebSocket. The key is always the same; nobody looks at it twice."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def reset(one: socket.socket) -> None:
    """Close so that the peer gets RST instead of FIN."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()


def unsent(port: int) -> int:
    """Bytes that the kernel holds for the clients of a server on this machine, because they do not read."""
    total = 0
    with open("/proc/net/tcp", encoding="ascii") as table:
        next(table)
        for line in table:
            _, local, _, _, queues = line.split(maxsplit=5)[:5]
            if int(local.rpartition(":")[2], 16) == port:
                total += int(queues.partition(":")[0], 16)
    return total
