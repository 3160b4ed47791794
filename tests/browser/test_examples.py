"""The examples for browsers, served from another origin as their users serve them."""

from __future__ import annotations

import functools
import json
import shlex
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.node import node, run_in
from tests.support.service_process import ROOT, Service

EXAMPLES = ROOT / "examples"
PACKAGE = ROOT / "clients" / "js"
BUILT = shutil.ignore_patterns("node_modules", "dist", "app.js")
pytestmark = pytest.mark.timeout(400)  # The first test installs.

# Resolves with what keeps a client from connecting.
PROBLEM = """async service => {
  const { CounterClient } = await import(`${service}/static/durable-counters.js`);
  const counters = new CounterClient({url: service, reconnect: {base: 1, cap: 1}});
  counters.watch("votes", () => {});
  return new Promise(resolve => counters.onState(() => counters.problem && resolve(counters.problem)));
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """The tests' output is theirs."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples, built."""
    folder = tmp_path_factory.mktemp("examples")
    for page in ("poll.html", "like.html"):
        shutil.copy(EXAMPLES / page, folder)
    # Copies side by side as they are here: the installation is the one of whoever tries the example.
    react = folder / "examples" / "react"
    shutil.copytree(EXAMPLES / "react", react, ignore=BUILT)
    shutil.copytree(PACKAGE, folder / "clients" / "js", ignore=BUILT)
    node(PACKAGE)  # Else skips, and leaves in npm's cache what is wanted here.
    install = run_in(react, "npm", "install", "--prefer-offline", "--no-audit", "--no-fund", timeout=200)
    assert install.returncode == 0, install.stdout + install.stderr
    # Built by its own command, but served by us.
    start = json.loads((react / "package.json").read_text())["scripts"]["start"]
    words = [word for word in shlex.split(start) if not word.startswith("--serve")]
    build = run_in(react, "npm", "exec", "--", *words)
    assert build.returncode == 0, build.stderr
    return folder


@pytest.fixture(scope="module")
def origin(folder: Path) -> Iterator[str]:
    """Where they are served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def elsewhere(origin: str) -> Iterator[Service]:
    """A service that lets the examples in."""
    with Service(hosts=1, gateways=1, allowed_origins=origin).start() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    page.close()
    assert [error for error in errors if "favicon" not in error and "404" not in error] == []


def test_a_poll_with_live_bars(page: Page, origin: str, elsewhere: Service) -> None:
    page.goto(f"{origin}/poll.html?service={elsewhere.url}")
    expect(page.get_by_role("status")).to_have_text("0 votes")
    page.get_by_role("button", name="ramen").click()
    elsewhere.call("increment", {"name": "poll:lunch:pizza", "amount": 3})
    expect(page.get_by_role("status")).to_have_text("4 votes")
    expect(page.get_by_role("button")).to_have_text(["pizza3", "ramen1", "salad0"])
    assert page.get_by_role("button").first.evaluate("button => button.style.getPropertyValue('--share')") == "0.75"


def test_like_buttons_on_a_plain_page(page: Page, origin: str, elsewhere: Service) -> None:
    page.goto(f"{origin}/like.html?service={elsewhere.url}&member=ada")
    buttons = page.get_by_role("button")
    expect(buttons).to_have_text(["♥ 0", "♥ 0"])
    elsewhere.call("like.add", {"name": "likes:post:2", "member": "bob"})
    expect(buttons).to_have_text(["♥ 0", "♥ 1"])
    buttons.last.click()
    expect(buttons).to_have_text(["♥ 0", "♥ 2"])
    expect(buttons.last).to_have_attribute("aria-pressed", "true")
    expect(buttons.first).to_have_attribute("aria-pressed", "false")
    assert elsewhere.call("like.isLiked", {"name": "likes:post:2", "member": "ada"})["isLiked"]
    page.reload()
    expect(buttons.last).to_have_attribute("aria-pressed", "true")
    elsewhere.call("like.remove", {"name": "likes:post:2", "member": "ada"})
    expect(buttons.last).to_have_attribute("aria-pressed", "false")
    expect(buttons).to_have_text(["♥ 0", "♥ 1"])


def test_a_react_app_of_thirty_lines(page: Page, origin: str, elsewhere: Service) -> None:
    assert len((EXAMPLES / "react" / "app.tsx").read_text().splitlines()) <= 30
    elsewhere.call("setValue", {"name": "seats", "value": 2})
    page.goto(f"{origin}/examples/react/index.html?service={elsewhere.url}")
    expect(page.get_by_role("heading")).to_have_text("2 seats")
    page.get_by_role("button", name="Take one").click(click_count=2)
    expect(page.get_by_role("heading")).to_have_text("0 seats")
    expect(page.get_by_role("button", name="Take one")).to_be_disabled()
    expect(page.get_by_role("status")).to_have_text("open")
    assert elsewhere.call("getValue", {"name": "seats"})["value"] == 0


def test_a_page_that_may_not_come_in_is_told_why(browser: Browser, origin: str, service: Service) -> None:
    page = browser.new_page()
    page.goto(origin)
    problem = page.evaluate(PROBLEM, service.url)
    page.close()
    assert problem["kind"] == "refused"
    assert "--allowed-origins" in problem["message"]
