"""`/ws/counter/<name>`, and `/ws` for many counters: from the handshake to a session that the hub owns.

A bare ASGI application; its call ends with the handshake.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from actors.core import name as names
from actors.core.policy import VALUE_MAX
from gateway.errors import RETRY_AFTER_S, Problem, crowded, invalid
from gateway.hub import Hub
from gateway.keepalive import Keepalive
from gateway.origin import Origins
from gateway.protocol import KEY_MAX, NAME_RULE, read_attachment
from gateway.session import Services, Session
from gateway.sockets import SOCKET, CounterSocket

PATH = "/ws/counter/"
MANY = "/ws"
PATIENCE_S = 5.0  # How long a handshake waits for the counter's owner to know of the subscriber.
RATE_MAX = 1_000.0
EVENTS = frozenset({"increment", "decrement", "setValue", "reset"})


class Listen:
    """Accepts WebSockets and hands them to the hub; the ASGI call ends with the handshake."""

    def __init__(self, hub: Hub, services: Services, origins: Origins, sessions_max: int) -> None:
        self._hub = hub
        self._sessions_max = sessions_max
        self._services = services
        self._origins = origins
        self._keepalive = Keepalive()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        socket: CounterSocket = scope["state"][SOCKET]
        try:
            name = self._admit(scope)
            wishes = _Wishes(scope["query_string"])
            if name is None and (wishes.snapshot or wishes.since is not None):
                raise invalid("snapshot", "on this connection, ask when you subscribe")
            if len(self._keepalive) >= self._sessions_max:
                raise crowded()
            if name is not None and self._hub.full(name):
                raise crowded(name)
        except Problem as problem:
            await _deny(send, problem)
            return
        peer = scope.get("client")
        source = f"ws {peer[0]}" if peer else "ws"
        session = Session(
            self._services, name, socket.write, wishes.events, wishes.key, wishes.rate, wishes.attachment, source
        )
        if name is None:
            await send({"type": "websocket.accept"})
            if not socket.transport.is_closing():
                socket.adopt(session, self._keepalive)
            return
        await self._hub.open(name, PATIENCE_S)
        try:
            await send({"type": "websocket.accept"})
            if not socket.transport.is_closing():
                # No await from here to the end: an event in between would be lost on this session.
                socket.adopt(session, self._keepalive)
                session.subscribe(name, wishes.snapshot, wishes.since, wishes.life)
        finally:
            self._hub.opened(name)

    def judge(self, scope: Scope) -> None:
        """Raises Problem when it is the page of an origin that may not open sockets who asks."""
        headers = dict(scope["headers"])
        origin, host = headers.get(b"origin"), headers.get(b"host", b"").decode("latin-1")
        if origin is not None and not self._origins.admits(origin.decode("latin-1"), host):
            raise Problem("FORBIDDEN", f"pages of {origin.decode('latin-1')} may not use this service")

    def _admit(self, scope: Scope) -> str | None:
        """The counter in the path, None for many. Raises Problem when the socket may not be opened."""
        self.judge(scope)
        if scope["path"] == MANY:
            return None
        name: str = scope["path"][len(PATH) :]
        if not names.valid(name):
            raise invalid("name", NAME_RULE)
        return name


class _Wishes:
    """What a subscriber asks for in the query of its URL."""

    def __init__(self, query: bytes) -> None:
        given = parse_qs(query.decode("latin-1"), keep_blank_values=True)
        unknown = given.keys() - {"attachment", "events", "snapshot", "since", "life", "rate", "key"}
        if unknown:
            raise invalid(sorted(unknown)[0], "unknown parameter")
        self.events = self._events(given.get("events", [None])[0])
        self.snapshot = self._flag(given.get("snapshot", ["0"])[0])
        self.since = self._number("since", given.get("since", [None])[0])
        self.life = self._number("life", given.get("life", [None])[0])
        self.rate = self._rate(given.get("rate", [None])[0])
        attachment = given.get("attachment", [None])[0]
        self.attachment = None if attachment is None else read_attachment(attachment.encode())
        self.key = given.get("key", [None])[0]
        if self.key is not None and not (1 <= len(self.key) <= KEY_MAX and self.key.isprintable()):
            raise invalid("key", f"1 to {KEY_MAX} printable characters")

    @staticmethod
    def _events(text: str | None) -> frozenset[str] | None:
        if text is None:
            return None
        events = frozenset(text.split(","))
        if not events <= EVENTS:
            raise invalid("events", f"some of {', '.join(sorted(EVENTS))}")
        return events

    @staticmethod
    def _flag(text: str | None) -> bool:
        if text not in ("0", "1"):
            raise invalid("snapshot", "0 or 1")
        return text == "1"

    @staticmethod
    def _number(field: str, text: str | None) -> int | None:
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= VALUE_MAX):
            raise invalid(field, "an integer of at least 0")
        return int(text)

    @staticmethod
    def _rate(text: str | None) -> float:
        if text is None:
            return 0.0
        try:
            rate = float(text)
        except ValueError:
            rate = 0.0
        if not 0.01 <= rate <= RATE_MAX:
            raise invalid("rate", f"events per second, 0.01 to {RATE_MAX:.0f}")
        return rate


async def _deny(send: Send, problem: Problem) -> None:
    body = problem.plain()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if problem.row.retryable:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_S))
    await send({"type": "websocket.http.response.start", "status": problem.row.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
