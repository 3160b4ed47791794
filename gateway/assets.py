"""The files of the page: read once, compressed once, and cached by browsers for as long as they stay the same."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

PATH = "/static/"
_FOREVER = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """One file, as it is sent."""

    type: str
    plain: bytes
    compressed: bytes
    version: str  # Changes with the content, and is part of the URL that the pages name.


class Assets:
    """All files of a folder by name."""

    def __init__(self, folder: Path) -> None:
        self._assets = {path.name: _read(path) for path in sorted(folder.iterdir()) if path.is_file()}

    def urls(self) -> dict[str, str]:
        """The URL of each file, by its name with `_` for dots: `page_js`."""
        return {
            name.replace(".", "_"): f"{PATH}{name}?v={asset.version}" for name, asset in self._assets.items()
        }

    def find(self, request: Request) -> Response | None:
        """The file that the path of `request` names; None if there is none."""
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            return None
        current = request.query_params.get("v") == asset.version
        headers = {
            "cache-control": _FOREVER if current else "no-cache",
            "etag": f'"{asset.version}"',
            "access-control-allow-origin": "*",  # Pages elsewhere may import the client; they are no secret.
        }
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return compressible(request, asset.plain, asset.type, headers, asset.compressed)


def compressible(
    request: Request,
    plain: bytes,
    type: str,
    headers: dict[str, str],
    compressed: bytes | None = None,
    status: int = 200,
) -> Response:
    """`plain`, compressed if the client takes that."""
    headers = {**headers, "vary": "accept-encoding", "x-content-type-options": "nosniff"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(plain, status, headers, type)
    return Response(compressed or gzip.compress(plain, 5), status, {**headers, "content-encoding": "gzip"}, type)


def _read(path: Path) -> Asset:
    plain = path.read_bytes()
    type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(type, plain, gzip.compress(plain, 9, mtime=0), hashlib.sha256(plain).hexdigest()[:16])
