"""What is served beside the procedures."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.support.service_process import Service


def test_it_is_alive_and_ready(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "alive"}
    assert http.get("/readyz").json() == {"status": "ready"}


def test_every_procedure_is_described(http: httpx.Client) -> None:
    description = http.get("/openapi.json").json()
    assert description["openapi"].startswith("3.1")
    procedures = (
        "create", "increment", "decrement", "setValue", "reset", "getValue", "getValues",
        "getMetadata", "getHistory", "listAll", "configure", "sync", "delete",
    )  # fmt: skip
    assert description["paths"].keys() >= {f"/rpc/counter.{procedure}" for procedure in procedures}


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_are_served_with_everything_they_name(http: httpx.Client, path: str) -> None:
    page = http.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    named = re.findall(r"""(?:src|href)="(/?[^"#:]+)\"""", page.text)
    assert named
    for each in named:
        assert http.get(str(httpx.URL(f"http://page{path}").join(each).raw_path, "ascii")).status_code == 200, each


def test_what_is_not_there_is_said_in_json(http: httpx.Client) -> None:
    for method, path, code in (
        ("GET", "/nothing", "NOT_FOUND"),
        ("POST", "/rpc/counter.nothing", "NOT_FOUND"),
        ("POST", "/rpc/nothing", "NOT_FOUND"),
        ("GET", "/static/../app.py", "NOT_FOUND"),
        ("GET", "/static/%2e%2e/app.py", "NOT_FOUND"),
        ("DELETE", "/healthz", "METHOD_NOT_SUPPORTED"),
        ("GET", "/rpc/counter.increment", "METHOD_NOT_SUPPORTED"),
        ("PUT", "/rpc/counter.increment", "METHOD_NOT_SUPPORTED"),
        ("GET", "/rpc/counter/increment", "METHOD_NOT_SUPPORTED"),
    ):
        answer = http.request(method, path)
        assert answer.json()["error" if "/counter/" not in path else "json"]["code"] == code, (method, path)


def test_the_log_has_one_line_for_each_event(service: Service) -> None:
    line = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ +counters\.\w+ action=\w+( |$)")
    assert [each for each in service.log.read_text().splitlines() if not line.match(each)] == []
