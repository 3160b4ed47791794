"""Gateways as Ray actors: uvicorn inside, several processes on one port."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import socket
from typing import Any

import ray
import uvicorn
from ray._private import worker as ray_worker

from actors import logs, runtime
from actors.directory import NAMESPACE, RayDirectory
from actors.settings import ActorSettings
from gateway import http
from gateway.app import SESSIONS_MAX, Gateway
from gateway.config import Settings
from gateway.keepalive import STALLED_MS
from gateway.server import Server
from gateway.sockets import GOODBYE_S, CounterSocket

FRAME_MAX = 64 * 2**10  # Bytes in a WebSocket message. Ours have a few dozen.
DRAIN_S = 5
FILES_SPARE = 1_000  # File descriptors for everything that is no WebSocket: requests, links, logs, Ray.
BIND_AGAIN_S = 1.0

log = logging.getLogger("counters.gateway")


class GatewayActor:
    """One gateway process."""

    @logs.failing(log)
    async def __init__(self, name: str, settings: Settings, actors: ActorSettings) -> None:  # type: ignore[misc]
        logs.to_file(actors.log_file)
        loop = asyncio.get_running_loop()
        self._directory = RayDirectory()
        node = ray.get_runtime_context().get_node_id()
        self._gateway = Gateway(settings, node, actors.secret, self._directory, _sockets_max())
        self._server = Server(
            uvicorn.Config(
                self._gateway,
                http=http.protocol(self._gateway.rpc),
                ws=CounterSocket,
                ws_max_size=FRAME_MAX,
                ws_ping_interval=None,  # gateway.keepalive does that, with one timer for all.
                ws_per_message_deflate=False,
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=DRAIN_S,
                timeout_keep_alive=75,
            )
        )
        listener = await _bound(settings)
        self._tasks = [
            loop.create_task(self._directory.follow()),
            loop.create_task(self._server.serve(sockets=[listener])),
        ]
        self._drain_on_sigterm()
        # What was made so far stays. Python would look at all of it again and again, 50 ms each time.
        gc.collect()
        gc.freeze()
        log.info("action=gateway_started gateway=%s name=%s pid=%d", self._gateway.id, name, os.getpid())

    async def ready(self) -> None:
        """Returns when requests are accepted and can be served."""
        while not (self._server.started and self._gateway.router.ready):
            await asyncio.sleep(0.01)

    async def pid(self) -> int:
        """The process this runs in."""
        return os.getpid()

    async def drain(self) -> None:
        """Accept nothing new, answer what is in flight, close sockets with 1012."""
        self._server.leave()
        await self._tasks[1]
        await self._gateway.router.close()  # What has no answer by now gets one.
        await self._server.ended(GOODBYE_S)

    def _drain_on_sigterm(self) -> None:
        """Have SIGTERM drain this process, and end it then.

        Only a main thread takes signals, and Ray's is busy with Ray: it ends the process with this function, which it
        looks up when the signal comes. Should that change there, SIGTERM ends us without draining.
        """
        loop, leave = asyncio.get_running_loop(), ray_worker.raise_sys_exit_with_custom_error_message
        asked = False

        def drain(*arguments: Any, **named: Any) -> None:
            nonlocal asked
            if asked:  # Twice is in a hurry.
                leave(*arguments, **named)
            asked = True
            loop.call_soon_threadsafe(lambda: self._tasks.append(loop.create_task(self._end())))

        ray_worker.raise_sys_exit_with_custom_error_message = drain

    async def _end(self) -> None:
        log.info("action=gateway_drains gateway=%s reason=sigterm", self._gateway.id)
        await self.drain()
        os._exit(0)


def start(settings: Settings, actors: ActorSettings) -> None:
    """Start the gateways and wait until they can serve."""
    gateways: list[Any] = [
        ray.remote(GatewayActor).options(**runtime.actor_options(name, actors)).remote(name, settings, actors)
        for name in names(settings)
    ]
    for gateway in gateways:
        runtime.insist(gateway.ready.remote)


def names(settings: Settings) -> list[str]:
    """What the gateway actors are called."""
    return [f"gateway:{index}" for index in range(settings.gateways)]


def _sockets_max() -> int:
    """How many WebSockets fit beside what else needs a file descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SESSIONS_MAX + FILES_SPARE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return SESSIONS_MAX if soft == resource.RLIM_INFINITY else min(SESSIONS_MAX, soft - FILES_SPARE)


async def _bound(settings: Settings) -> socket.socket:
    """The port, however long it takes: an actor whose constructor fails is never started again by Ray."""
    while True:
        try:
            return bind(settings.host, settings.port, shared=True)
        except OSError as error:
            log.error("action=bind_failed host=%s port=%d error=%s", settings.host, settings.port, error)
            await asyncio.sleep(BIND_AGAIN_S)


def bind(host: str, port: int, shared: bool) -> socket.socket:
    """A bound socket. `shared`: several processes may bind the same port, and the kernel spreads connections.

    Raises OSError when the port is taken or the address is not ours.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; what is accepted here inherits it.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_MS)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def drain(settings: Settings) -> None:
    """Let the gateways end what they have begun, all at the same time."""
    drained = []
    for name in names(settings):
        try:
            drained.append(ray.get_actor(name, namespace=NAMESPACE).drain.remote())
        except ValueError:
            log.warning("action=drain_failed gateway=%s error=gone", name)
    if drained:
        ray.wait(drained, num_returns=len(drained), timeout=DRAIN_S + GOODBYE_S + 1)
