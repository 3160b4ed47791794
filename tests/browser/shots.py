"""Pictures of every view and state, for docs/page.md: `make screenshots`, or `python -m tests.browser.shots FOLDER`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.conftest import DESKTOP, PATHS, PHONE
from tests.support.service_process import Service

VALUES = {
    "article:launch:reads": 1284, "article:roadmap:reads": 342, "poll:lunch:pizza": 41, "poll:lunch:ramen": 37,
    "poll:lunch:salad": 12, "seats.free": 86, "stock:sku-20931": 4205, "views.home": 1203944,
}  # fmt: skip
STEPS = (3, 1, -1, 5, 2, -4, 8, 1, 1, 3, -2, 6, 1, 1, 4)


def fill(service: Service) -> None:
    """Something to see."""
    for name, value in VALUES.items():
        service.call("setValue", {"name": name, "value": value})
    for step in STEPS:
        service.call("increment" if step > 0 else "decrement", {"name": "votes", "amount": abs(step)})
    for number in range(28):
        service.call("like.add", {"name": "likes:post:42", "member": f"reader {number}"})


def live(page: Page, path: str) -> None:
    page.goto(path)
    page.wait_for_selector("#connection[data-state=open]")


def show_list(page: Page) -> None:
    live(page, "/")


def show_search(page: Page) -> None:
    live(page, "/")
    page.locator("#q").fill("poll:dinner")
    page.wait_for_selector("#create:visible")
    page.wait_for_selector("#empty:visible")


def show_counter(page: Page) -> None:
    live(page, "/c/votes")
    page.wait_for_selector("#watching:visible")
    for _ in range(2):
        page.locator("#plus").click()
    page.wait_for_timeout(600)  # The digits have come to rest.


def show_likes(page: Page) -> None:
    live(page, "/c/likes:post:42")
    page.locator("#like").click()
    page.wait_for_selector("#like[aria-pressed=true]")
    page.mouse.move(0, 0)
    page.wait_for_timeout(600)


def show_dialog(page: Page) -> None:
    live(page, "/c/votes")
    page.locator("#delete").click()


def show_notice(page: Page) -> None:
    live(page, "/c/people-in-the-room")
    for _ in range(3):
        page.locator("#plus").click()
    page.wait_for_selector("#notice:visible", timeout=60_000)
    page.wait_for_timeout(2_000)  # What has changed is not said any more.


def show_offline(page: Page) -> None:
    live(page, "/c/votes")
    page.context.set_offline(True)
    page.wait_for_selector("#banner:visible")


def show_huge(page: Page) -> None:
    live(page, "/c/huge")


def show_totals(page: Page) -> None:
    live(page, "/totals")
    page.wait_for_timeout(400)


def show_nothing(page: Page) -> None:
    page.goto("/c/no%20name")


VIEWS: dict[str, Callable[[Page], None]] = {
    "list": show_list, "search": show_search, "counter": show_counter, "likes": show_likes, "dialog": show_dialog,
    "notice": show_notice, "offline": show_offline, "huge": show_huge, "totals": show_totals, "nothing": show_nothing,
}  # fmt: skip


def take(browser: Browser, service: Service, folder: Path) -> list[Path]:
    """Every view at both sizes, and between them in both themes."""
    taken = []
    for device, viewport, theme in (("desktop", DESKTOP, "light"), ("phone", PHONE, "dark")):
        for view, show in VIEWS.items():
            context: BrowserContext = browser.new_context(
                base_url=service.url, viewport=viewport, color_scheme=theme  # type: ignore[arg-type]
            )
            page = context.new_page()
            show(page)
            taken.append(folder / f"{view}-{device}.png")
            page.screenshot(path=taken[-1], full_page=view not in ("dialog", "offline"))
            context.close()
    return taken


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = next(found for each in PATHS if (found := shutil.which(each)))
    with Service(hosts=1, gateways=1).start() as service, sync_playwright() as playwright:
        fill(service)
        service.call("create", {"name": "people-in-the-room", "policy": {"reset_after": 6}})
        service.call("setValue", {"name": "huge", "value": 2**53 - 1})
        browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=False)
        for picture in take(browser, service, folder):
            print(picture)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/screenshots"))
