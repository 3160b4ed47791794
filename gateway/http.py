"""uvicorn's HTTP protocol with a short way for procedures.

A POST under `/rpc/` goes from the parser to `Rpc.handle` and back without an ASGI scope, a task or a future: half of
what such a request costs otherwise. Everything else, and whatever is pipelined behind an unfinished request, goes the
ordinary way; both ways share uvicorn's state for keep-alive, pipelining and shutdown.
"""

from __future__ import annotations

import sys
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.errors import Problem
from gateway.rpc import BODY_MAX, JSON, PATH, Headers, Request, Rpc

HEAD_MAX = 128 * 2**10  # Bytes of URL and headers. Those of a handshake with an attachment are some 50 KB.

_PREFIX = PATH.encode()


class _Call:
    """A request on the short way, in the place where uvicorn keeps the cycle of an ordinary one."""

    __slots__ = ("body", "disconnected", "headers", "keep_alive", "message_event", "more_body", "response_complete")

    def __init__(self, headers: list[tuple[bytes, bytes]], keep_alive: bool) -> None:
        self.body = b""
        self.headers = headers
        self.keep_alive = keep_alive
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.message_event = _NOBODY_WAITS


class _NobodyWaits:
    def set(self) -> None:
        """uvicorn would wake the application here."""


_NOBODY_WAITS = _NobodyWaits()


class CounterHttp(HttpToolsProtocol):
    """One HTTP connection. Made by `protocol`, which tells it what to call."""

    rpc: Rpc
    leaving = False  # The gateway stops: every answer is the last one of its connection.
    _cached_for: tuple[int, Any, Any] = (0, None, None)
    _cached: bytes = b""
    _advanced = False  # What has just arrived was the beginning, the body or the end of a request, or some of it was.
    _loose = 0  # Bytes that were none of these since.
    _arrived = b""  # What is being read,
    _again = b""  # and the head of a request that has to be read again.

    def data_received(self, data: bytes) -> None:
        self._advanced = False
        self._arrived = data
        super().data_received(data)
        self._arrived = b""
        self._loose = 0 if self._advanced else self._loose + len(data)
        if self._loose > HEAD_MAX and not self.transport.is_closing():
            self.send_400_response(f"a request has at most {HEAD_MAX} bytes of URL and headers")

    def on_message_begin(self) -> None:
        self._advanced = True
        # The scope is made when it is known to be needed.
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self._get_upgrade() not in (None, b"websocket"):
            # Java's and curl's clients offer HTTP/2 (h2c) with a request. We may pass over that, and the parser would
            # take the body for HTTP/2.
            lines = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
            self._again = b"%b %b HTTP/1.1\r\n%b\r\n" % (self.parser.get_method(), self.url, b"".join(lines))
            return
        unfinished = self.cycle is not None and not self.cycle.response_complete
        if (
            self.url.startswith(_PREFIX)
            and not unfinished
            and not self.expect_100_continue
            and self.parser.get_method() == b"POST"
            and not self.parser.should_upgrade()
        ):
            keep_alive = (
                not self.leaving and self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
            )
            self.cycle = _Call(self.headers, keep_alive)  # type: ignore[assignment]
            self.headers = []  # For trailers, which are no headers.
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()
        if not self.parser.should_upgrade():
            self.headers = []

    def _unsupported_upgrade_warning(self) -> None:
        again, self._again = self._again, b""
        upgrade = sys.exception()
        if again and isinstance(upgrade, httptools.HttpParserUpgrade):
            self.parser = httptools.HttpRequestParser(self)
            self.data_received(again + self._arrived[upgrade.args[0] :])

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        # This object is done; the parser points back at it and would keep both until the collector comes.
        self.parser = None  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        self._advanced = True
        call = self.cycle
        if isinstance(call, _Call):
            # A body that is too large is read to its end, so that the answer finds its reader, but not kept.
            if len(call.body) <= BODY_MAX:
                call.body = call.body + body if call.body else body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._advanced = True
        call = self.cycle
        if self._again:
            return
        if not isinstance(call, _Call):
            super().on_message_complete()
            return
        path, _, query = self.url.partition(b"?")
        peer = self.client[0] if self.client else None
        request = Request("POST", path.decode("latin-1"), query, call.headers, call.body, peer)
        self.rpc.handle(request, lambda status, body, headers: self._respond(call, status, body, headers))

    def pause_writing(self) -> None:
        # Who does not read its answers is not asked for more requests.
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:
        problem = Problem("COUNTER_VALIDATION_ERROR", msg, {"field": "request", "reason": msg})
        body = problem.plain()
        head = self._head(400, JSON)
        self.transport.write(b"%bconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        self.transport.close()

    def _respond(self, call: _Call, status: int, body: bytes, headers: Headers) -> None:
        if call.disconnected or self.transport.is_closing():
            return
        close = b"" if call.keep_alive else b"connection: close\r\n"
        head = self._head(status, headers)
        self.transport.write(b"%b%bcontent-length: %d\r\n\r\n%b" % (head, close, len(body), body))
        call.response_complete = True
        if not call.keep_alive:
            self.transport.close()
        self.on_response_complete()
        if self.flow.write_paused:
            self.flow.pause_reading()

    def _head(self, status: int, headers: Headers) -> bytes:
        """Status line and headers; uvicorn renews its default headers once a second, and so is this."""
        defaults = self.server_state.default_headers
        cached = CounterHttp._cached_for
        if cached[0] != status or cached[1] is not headers or cached[2] is not defaults:
            lines = b"".join([b"%b: %b\r\n" % pair for pair in (*defaults, *headers)])
            CounterHttp._cached = STATUS_LINE[status] + lines
            CounterHttp._cached_for = (status, headers, defaults)
        return CounterHttp._cached


def protocol(rpc: Rpc) -> type[CounterHttp]:
    """The protocol class for one gateway; uvicorn makes an instance for each connection."""
    return type("GatewayHttp", (CounterHttp,), {"rpc": rpc})
