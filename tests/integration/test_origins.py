"""Which pages may talk to a service on a loopback address, over HTTP and WebSocket."""

from __future__ import annotations

import json

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.support.service_clients import Bare, Listener, socket_url
from tests.support.service_process import Service

FOREIGN = ["https://evil.example", "http://127.0.0.1:1", "null", "http://127.0.0.1.evil.example", "http://[::1", "\xff"]


@pytest.mark.parametrize("origin", FOREIGN)
def test_foreign_pages_are_refused_over_http(service: Service, counter: str, origin: str) -> None:
    with Bare(service) as bare:
        for procedure, input in (("increment", {"name": counter}), ("getValue", {"name": counter})):
            answer = bare.post(f"/rpc/counter.{procedure}", json.dumps(input).encode(), origin=origin)
            assert (answer.status, answer.code) == (403, "FORBIDDEN")
            assert "access-control-allow-origin" not in answer.headers
        assert json.loads(bare.post("/rpc/counter.getValue", json.dumps({"name": counter}).encode()).body)["value"] == 0


@pytest.mark.parametrize("origin", FOREIGN[:-1])
def test_foreign_pages_are_refused_over_websocket(service: Service, counter: str, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(socket_url(service, counter), origin=origin):  # type: ignore[arg-type]
        pass
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body)["error"]["code"] == "FORBIDDEN"


@pytest.mark.parametrize("path", ["/ws", "/ws/counter/votes"])
def test_a_foreign_page_may_read_that_it_is_refused_a_websocket(http: httpx.Client, path: str) -> None:
    answer = http.get(path, headers={"origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", ["/", "/c/votes", "/healthz", "/metrics", "/openapi.json", "/nothing"])
def test_a_foreign_page_may_read_nothing_else(http: httpx.Client, path: str) -> None:
    assert "access-control-allow-origin" not in http.get(path, headers={"origin": "https://evil.example"}).headers


def test_a_preflight_of_a_foreign_page_is_refused(http: httpx.Client) -> None:
    answer = http.options(
        "/rpc/counter.increment",
        headers={"origin": "https://evil.example", "access-control-request-method": "POST"},
    )
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_our_own_page_is_admitted(service: Service, http: httpx.Client, counter: str, host: str) -> None:
    here = f"{host}:{service.port}"
    answer = http.post(
        "/rpc/counter.increment", json={"name": counter}, headers={"origin": f"http://{here}", "host": here}
    )
    assert (answer.status_code, answer.json()["value"]) == (200, 1)
    with connect(
        f"ws://{here.lower()}/ws/counter/{counter}",
        origin=f"http://{here.lower()}",
        compression=None,  # type: ignore[arg-type]
    ) as connection:
        assert Listener(connection).silent()


def test_a_name_that_points_at_us_is_not_our_page(service: Service, http: httpx.Client, counter: str) -> None:
    """DNS rebinding: a page elsewhere has its name resolve to 127.0.0.1, and its origin equals the Host header."""
    rebound = f"evil.example:{service.port}"
    headers = {"origin": f"http://{rebound}", "host": rebound}
    assert http.post("/rpc/counter.increment", json={"name": counter}, headers=headers).status_code == 403
    with Bare(service) as bare:
        bare.send(
            f"GET /ws/counter/{counter} HTTP/1.1\r\nHost: {rebound}\r\nOrigin: http://{rebound}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert bare.answer().status == 403
    assert http.post("/rpc/counter.getValue", json={"name": counter}).json()["value"] == 0


def test_programs_send_no_origin_and_are_served(http: httpx.Client, counter: str) -> None:
    assert http.post("/rpc/counter.increment", json={"name": counter}).status_code == 200
