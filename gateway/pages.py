"""The pages: HTML with the values of this moment in it. `web/static/page.js` makes them live.

The templates in `web/templates` are filled in with text only, never with markup from outside: whatever comes from a
request or from storage goes through `escape`.
"""

from __future__ import annotations

import asyncio
import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from actors.clock import Clock, iso
from actors.core import name as names
from actors.messages import Query, Status
from actors.router import Router
from gateway.assets import Assets, compressible
from gateway.errors import Problem
from gateway.origin import Origins

PATIENCE_S = 2.0  # A page without values, which JavaScript fills in later, is better than none.
LISTED = 100
TOTALLED = 1_000  # As many as one WebSocket listens to.
HISTORY = 100
# Up to so many characters a value is set in this size.
SIZES = {5: "small", 10: "medium", 15: "large"}
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Swagger UI sets styles on elements and shows its icons as data; everything else is our own files.
DOCS_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
THEMES = ("light", "dark")


class Pages:
    """What is served to people."""

    def __init__(self, folder: Path, assets: Assets, router: Router, origins: Origins, clock: Clock) -> None:
        self._templates = {path.stem: Template(path.read_text()) for path in sorted(folder.glob("*.html"))}
        self._urls = assets.urls()
        self._router = router
        self._origins = origins
        self._clock = clock

    async def counters(self, request: Request) -> Response:
        """All counters, or those whose names begin with `q`."""
        query, cursor = request.query_params.get("q", ""), request.query_params.get("after", "")
        page = await self._ask(Query(0, "page", [query], LISTED, text=cursor)) or {}
        listed = page.get("counters", [])
        more = f"/?{urlencode({'q': query, 'after': page['cursor']})}" if "cursor" in page else ""
        return self._page(
            request,
            "list",
            "Counters",
            query=escape(query),
            rows="".join(map(self._row, listed)),
            row=self._row(None),
            more=escape(more),
            more_hidden="" if more else "hidden",
            empty_hidden="hidden" if listed else "",
        )

    async def counter(self, request: Request) -> Response:
        """One counter, which need not exist yet."""
        name = request.path_params["name"]
        if not names.valid(name):
            return self._page(request, "nothing", "No such page", 404, what=escape(name))
        metadata, history = await asyncio.gather(
            self._ask(Query(0, "metadata", [name])), self._ask(Query(0, "history", [name], HISTORY))
        )
        value = (metadata or {}).get("value", 0)
        likes = metadata is not None and metadata["policy"]["likes"]
        return self._page(
            request,
            "counter",
            name,
            data={"metadata": metadata, "history": history or []},
            name=escape(name),
            value=_number(value),
            size=_size(_number(value)),
            like="" if likes else "hidden",
            controls="hidden" if likes else "",
        )

    async def totals(self, request: Request) -> Response:
        """The sum of all counters, or of those whose names begin with `q`."""
        query = request.query_params.get("q", "")
        page = await self._ask(Query(0, "page", [query], TOTALLED, text="")) or {}
        values = {each["name"]: each["value"] for each in page.get("counters", [])}
        return self._page(
            request,
            "totals",
            "Totals",
            data={"values": values, "more": "cursor" in page},
            query=escape(query),
            count=_number(len(values)),
            value=(total := _number(sum(values.values()))),
            size=_size(total),
        )

    async def docs(self, request: Request) -> Response:
        """The API, to read and to try out."""
        html = self._templates["docs"].substitute(self._urls)
        return compressible(request, html.encode(), "text/html", {"content-security-policy": DOCS_POLICY})

    def _row(self, counter: dict[str, Any] | None) -> str:
        """One counter of the list; None: the pattern that new ones are made from."""
        name, value = (counter["name"], _number(counter["value"])) if counter else ("", "–")
        changed, href = (counter["updatedAt"], f"/c/{name}") if counter else ("", "")
        return self._templates["row"].substitute(
            name=escape(name),
            href=escape(href),
            value=value,
            changed=escape(changed),
            size=_size(value),
            likes=" data-likes" if counter and counter["likes"] else "",
        )

    def _page(
        self, request: Request, view: str, title: str, status: int = 200, data: object = None, **fields: str
    ) -> Response:
        if not self._origins.knows(request.headers.get("host")):
            return Response(Problem("FORBIDDEN").plain(), 403, media_type="application/json")
        theme = request.cookies.get("theme", "")
        # In a script element `<` could end it, whatever it is quoted with.
        state = json.dumps({"now": iso(self._clock.now_ms()), "data": data}).replace("<", "\\u003c")
        html = self._templates["shell"].substitute(
            self._urls,
            title=escape(title),
            theme=theme if theme in THEMES else "",
            view=view,
            state=state,
            main=self._templates[view].substitute(fields),
        )
        headers = {"content-security-policy": POLICY, "cache-control": "no-store", "referrer-policy": "same-origin"}
        return compressible(request, html.encode(), "text/html", headers, status=status)

    async def _ask(self, query: Query) -> Any:
        """The answer to `query`; None when there is none in time, or nothing to answer about."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def take(status: int, body: bytes) -> None:
            if not answer.done():
                answer.set_result(json.loads(body) if status == Status.OK else None)

        self._router.ask(query, take)
        try:
            return await asyncio.wait_for(answer, PATIENCE_S)
        except TimeoutError:
            return None


def _number(value: int) -> str:
    """As `numbers` in `clients/js/page/format.ts` shows it."""
    return f"{value:,}".replace("-", "−")


def _size(shown: str) -> str:
    return next((size for limit, size in SIZES.items() if len(shown) <= limit), "huge")
