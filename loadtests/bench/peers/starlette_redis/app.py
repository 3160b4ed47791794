"""A live counter on Starlette and Redis, as an experienced author would write it.

Redis is the truth and the bus: one script increments and publishes, atomically and in one round trip.
Each process has one subscription per counter, and passes what it hears to its own WebSockets.

Answers are value, previous value and time; there is no history, no metadata and no protection against an
operation that is sent twice.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import msgspec
from redis.asyncio import ConnectionPool, Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

# PUBLISH needs the value that INCRBY returns, so a plain pipeline of the two would take two round trips.
INCREMENT = """
local value = redis.call('INCRBY', KEYS[1], ARGV[1])
redis.call('PUBLISH', KEYS[1], value .. ' ' .. ARGV[1])
return value
"""

# One for each operation under way: a pool that makes the surplus wait costs a few percent more.
CONNECTIONS_MAX = 1000


class Increment(msgspec.Struct):
    name: str
    amount: int = 1


class Name(msgspec.Struct):
    name: str


class Operation(msgspec.Struct):
    type: str
    amount: int = 1
    id: str | None = None


class Result(msgspec.Struct):
    name: str
    value: int
    previousValue: int
    timestamp: str


class Event(msgspec.Struct, tag_field="type", tag="increment"):
    value: int
    previousValue: int
    timestamp: str


class OperationResult(msgspec.Struct, tag_field="type", tag="incrementResult"):
    id: str | None
    result: Result


encode = msgspec.json.encode
decode_increment = msgspec.json.Decoder(Increment).decode
decode_name = msgspec.json.Decoder(Name).decode
decode_operation = msgspec.json.Decoder(Operation).decode


def timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Counters:
    """The counters in Redis, and the WebSockets of this process that follow them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._script = ""
        self._bus = redis.pubsub()
        self._rooms: dict[str, set[WebSocket]] = {}
        self._subscribed: dict[str, asyncio.Event] = {}

    async def open(self) -> None:
        self._script = await self._redis.script_load(INCREMENT)
        # A subscription from the start: the bus cannot be read before it has one.
        await self._bus.subscribe("")

    async def increment(self, name: str, amount: int) -> Result:
        value = await self._redis.evalsha(self._script, 1, name, amount)
        return Result(name, value, value - amount, timestamp())

    async def value(self, name: str) -> int:
        return int(await self._redis.get(name) or 0)

    async def follow(self, name: str, socket: WebSocket) -> None:
        """Add a socket; on return, Redis has confirmed the subscription and no later event is missed."""
        self._rooms.setdefault(name, set()).add(socket)
        if name not in self._subscribed:
            self._subscribed[name] = asyncio.Event()
            await self._bus.subscribe(name)
        await self._subscribed[name].wait()

    async def leave(self, name: str, socket: WebSocket) -> None:
        room = self._rooms[name]
        room.discard(socket)
        if not room:
            del self._rooms[name], self._subscribed[name]
            await self._bus.unsubscribe(name)

    async def listen(self) -> None:
        """Pass on what the bus says, for as long as the process lives."""
        while True:
            kind, channel, data = await self._bus.parse_response(block=True)
            name = channel.decode()
            if kind == b"message":
                await self._deliver(name, data)
            elif kind == b"subscribe" and name in self._subscribed:
                self._subscribed[name].set()

    async def _deliver(self, name: str, data: bytes) -> None:
        value, amount = map(int, data.split())
        text = encode(Event(value, value - amount, timestamp())).decode()
        message = {"type": "websocket.send", "text": text}
        for socket in tuple(self._rooms.get(name, ())):
            # A socket that is closing refuses; its own endpoint removes it.
            with suppress(WebSocketDisconnect, RuntimeError):
                await socket.send(message)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    pool = ConnectionPool.from_url(os.environ["BENCH_REDIS_URL"], max_connections=CONNECTIONS_MAX)
    async with Redis(connection_pool=pool) as redis:
        app.state.counters = counters = Counters(redis)
        await counters.open()
        listening = asyncio.create_task(counters.listen())
        yield
        listening.cancel()


def answer(body: msgspec.Struct) -> Response:
    return Response(encode(body), media_type="application/json")


async def increment(request: Request) -> Response:
    asked = decode_increment(await request.body())
    return answer(await request.app.state.counters.increment(asked.name, asked.amount))


async def get_value(request: Request) -> Response:
    asked = decode_name(await request.body())
    value = await request.app.state.counters.value(asked.name)
    return Response(encode({"name": asked.name, "value": value}), media_type="application/json")


async def ready(request: Request) -> Response:
    return Response("ok")


async def socket(websocket: WebSocket) -> None:
    counters: Counters = websocket.app.state.counters
    name = websocket.path_params["name"]
    await counters.follow(name, websocket)
    await websocket.accept()

    async def operate(text: str) -> None:
        operation = decode_operation(text)
        result = await counters.increment(name, operation.amount)
        await websocket.send_text(encode(OperationResult(operation.id, result)).decode())

    try:
        # A task for each, so that operations of one connection share round trips instead of queueing.
        async with asyncio.TaskGroup() as operations:
            async for text in websocket.iter_text():
                operations.create_task(operate(text))
    finally:
        await counters.leave(name, websocket)


app = Starlette(
    routes=[
        Route("/rpc/counter.increment", increment, methods=["POST"]),
        Route("/rpc/counter.getValue", get_value, methods=["POST"]),
        Route("/readyz", ready),
        WebSocketRoute("/ws/counter/{name}", socket),
    ],
    lifespan=lifespan,
)
