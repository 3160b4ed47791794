"""A real Chromium, and a service that tests may use, kill and start again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.service_process import Service

# On a busy machine everything takes longer.
expect.set_options(timeout=20_000)
PATHS = ("chromium", "chromium-browser", "google-chrome")
DESKTOP = {"width": 1200, "height": 860}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium. Where there is none, the tests that need it are skipped.

    For a module, not for the session: as long as it is there, the thread has a running loop, and `asyncio.run` refuses.
    """
    path = next((found for each in PATHS if (found := shutil.which(each))), None)
    if path is None:
        pytest.skip("chromium is absent: apt-get install chromium")
    # Without a sandbox it runs as root, too, as in many CI machines.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=os.geteuid() != 0)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A running service, whose processes may be killed as long as it is whole again afterwards."""
    with Service(hosts=2, gateways=1).start() as running:
        yield running
        assert running.stop() == 0, running.tail()


class Tabs:
    """Opens pages of the service, and fails the test for whatever one of them says in its console."""

    def __init__(self, browser: Browser, service: Service) -> None:
        self._browser = browser
        self._service = service
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []

    def context(self, **options: object) -> BrowserContext:
        """A browser of somebody else."""
        options = {"viewport": DESKTOP, "base_url": self._service.url} | options
        context = self._browser.new_context(**options)  # type: ignore[arg-type]
        self._contexts.append(context)
        return context

    def open(self, path: str, context: BrowserContext | None = None, live: bool = True) -> Page:
        """A page, live."""
        page = (context or self.context()).new_page()
        page.on("pageerror", lambda error: self.complaints.append(f"{path}: {error}"))
        page.on("console", lambda message: self._heard(path, message.type, message.text))
        page.goto(path)
        if live:
            page.wait_for_selector("#connection[data-state=open]")
        return page

    def _heard(self, path: str, type: str, text: str) -> None:
        # A browser reports every failed connection itself; that there is none is what some tests are about.
        if type in ("error", "warning") and "net::ERR" not in text and "WebSocket connection" not in text:
            self.complaints.append(f"{path}: {type}: {text}")

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def tabs(browser: Browser, service: Service) -> Iterator[Tabs]:
    """Pages; at the end none of them may have complained."""
    tabs = Tabs(browser, service)
    yield tabs
    tabs.close()
    assert tabs.complaints == []


@pytest.fixture
def name() -> str:
    """A counter that nobody has used."""
    return f"b-{uuid4().hex[:10]}"
