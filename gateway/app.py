"""The wiring of one gateway: every part is named here, and told what it needs."""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from swagger_ui_bundle import swagger_ui_path

from actors.clock import SystemClock
from actors.errors import Unavailable
from actors.messages import Query, Status
from actors.router import Directory, Router
from gateway import assets, listen, metrics, openapi, reset, rpc
from gateway.admin import Admin
from gateway.assets import Assets
from gateway.config import Settings
from gateway.errors import Problem
from gateway.hub import Hub
from gateway.listen import Listen
from gateway.origin import Origins
from gateway.pages import Pages
from gateway.reset import Reset
from gateway.rpc import Rpc
from gateway.session import Ids, Services

SESSIONS_MAX = 100_000  # WebSockets of one gateway, where its machine lets it have so many.
READY_S = 2.0  # Storage that takes longer is not there.
log = logging.getLogger("counters.gateway")
WEB = Path(__file__).parent / "web"


class Gateway:
    """A gateway without a server: uvicorn, or a test, calls it as an ASGI application."""

    def __init__(
        self, settings: Settings, node: str, secret: str, directory: Directory, sessions_max: int = SESSIONS_MAX
    ) -> None:
        self.id = uuid4().hex[:12]
        self._directory = directory
        self.hub = Hub()
        self.router = Router(self.id, node, secret, directory, self.hub)
        self.hub.connect(self.router)
        ids = Ids()
        origins = Origins(settings.host, settings.allowed_origins)
        clock = SystemClock()
        services = Services(self.router, self.hub, clock, ids)
        self.rpc = Rpc(self.router, Admin(self.router, directory), origins, ids)
        self._listen = Listen(self.hub, services, origins, sessions_max)
        self._assets = Assets(WEB / "static")
        pages = Pages(WEB / "templates", self._assets, self.router, origins, clock)
        self._rest = self._routes(pages, self._worker_routes(settings, ids))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if scope["type"] == "http" and path.startswith(rpc.PATH):
            await self.rpc(scope, receive, send)
        elif scope["type"] == "websocket" and (path == listen.MANY or path.startswith(listen.PATH)):
            await self._listen(scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    def _worker_routes(self, settings: Settings, ids: Ids) -> list[Route]:
        if not settings.reset_secret:
            return []
        endpoint = Reset(self.router, ids, settings.reset_secret, settings.default_counter).answer
        return [Route(reset.PATH, endpoint, methods=["POST"])]

    def _routes(self, pages: Pages, more: list[Route]) -> ASGIApp:
        description = msgspec.json.encode(openapi.describe(version("durable-counters")))
        return Starlette(
            routes=[
                Route("/", pages.counters),
                Route("/c/{name:path}", pages.counter),
                Route("/totals", pages.totals),
                Route("/docs", pages.docs),
                Route("/openapi.json", lambda request: Response(description, media_type="application/json")),
                Route("/healthz", lambda request: _json({"status": "alive"})),
                Route("/readyz", self._ready),
                Route("/metrics", self._metrics),
                *more,
                Route(listen.PATH + "{name:path}", self._upgrade),
                Route(listen.MANY, self._upgrade),
                Mount("/docs/assets", StaticFiles(directory=swagger_ui_path)),
                Route(assets.PATH + "{name:path}", self._asset),
            ],
            exception_handlers={404: _not_found, 405: _wrong_method},
        )

    async def _asset(self, request: Request) -> Response:
        return self._assets.find(request) or _problem(Problem("NOT_FOUND"))

    async def _upgrade(self, request: Request) -> Response:
        try:
            self._listen.judge(request.scope)
        except Problem as problem:
            # A browser tells no page why its WebSocket failed. This, and nothing else, a page of anywhere may read.
            return _problem(problem, **{"access-control-allow-origin": "*"})
        return _problem(Problem("UPGRADE_REQUIRED"), upgrade="websocket", connection="upgrade")

    async def _ready(self, request: Request) -> Response:
        """Ready: there are hosts, and one of them has just read from storage."""
        if not self.router.ready:
            return _json({"status": "no hosts"}, 503)
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.router.ask(Query(0, "page", limit=1, names=[]), lambda status, _: _settle(answer, status))
        try:
            ready = await asyncio.wait_for(answer, READY_S) == Status.OK
        except TimeoutError:
            ready = False
        return _json({"status": "ready" if ready else "no storage"}, 200 if ready else 503)

    async def _metrics(self, request: Request) -> Response:
        answer: asyncio.Future[list[tuple[int, bytes]]] = asyncio.get_running_loop().create_future()
        self.router.ask_all(Query(0, "figures", []), lambda answers: _settle(answer, answers))
        samples = metrics.of_hosts(await answer)
        try:
            async with asyncio.timeout(READY_S):
                samples += metrics.of_timer(await self._directory.timer("figures"))
        except (Unavailable, TimeoutError):
            log.info("action=metrics_incomplete")
        return Response(metrics.page(samples), media_type=metrics.CONTENT_TYPE)


def _settle(answer: asyncio.Future[Any], said: Any) -> None:
    if not answer.done():
        answer.set_result(said)


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


def _problem(problem: Problem, **headers: str) -> Response:
    return Response(problem.plain(), problem.row.status, headers, media_type="application/json")


async def _not_found(request: Request, error: Exception) -> Response:
    return _problem(Problem("NOT_FOUND"))


async def _wrong_method(request: Request, error: Exception) -> Response:
    return _problem(Problem("METHOD_NOT_SUPPORTED"), allow=(getattr(error, "headers", None) or {}).get("Allow", "GET"))
