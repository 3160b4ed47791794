"""WebSocket frames of a server (RFC 6455, section 5), made once and written to any number of sockets."""

from __future__ import annotations


def text_of(frame: bytes) -> bytes:
    """The text in a frame that `text_frame` made."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


def text_frame(payload: bytes) -> bytes:
    """`payload` as one unmasked, unfragmented text frame."""
    length = len(payload)
    if length < 126:
        return b"\x81%c%b" % (length, payload)
    if length < 65_536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


def close_frame(code: int, reason: bytes) -> bytes:
    """A close frame; the reason has at most 123 bytes."""
    return b"\x88%c%b%b" % (2 + len(reason), code.to_bytes(2, "big"), reason)
