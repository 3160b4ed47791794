"""The page in a real browser."""

from __future__ import annotations

import re
import urllib.request

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, Tabs
from tests.support.kill import kill_actor, wait_until_back
from tests.support.node import node
from tests.support.service_process import ROOT, Service

pytestmark = pytest.mark.timeout(180)

# Resolves with the time of this clock, which all tabs of a machine share, at which the value is first on show.
SEEN_AT = """value => new Promise(resolve => {
  const look = () => document.getElementById("digits").textContent === value && resolve(Date.now());
  new MutationObserver(look).observe(document.getElementById("digits"), {childList: true, subtree: true});
  look();
})"""

# Keeps every state that the connection comes into.
STATES = """() => {
  const pill = document.getElementById("connection");
  window.states = [];
  new MutationObserver(() => window.states.push(pill.dataset.state)).observe(pill, {attributeFilter: ["data-state"]});
}"""


def shown(page: Page, value: str) -> None:
    expect(page.locator("#digits")).to_have_text(value)


def press(page: Page, button: str, times: int = 1) -> None:
    for _ in range(times):
        page.locator(button).click()


def no_violations(page: Page) -> None:
    """axe finds nothing serious."""
    node(ROOT / "clients" / "js")
    page.evaluate((ROOT / "clients/js/node_modules/axe-core/axe.min.js").read_text())
    found = page.evaluate("axe.run()")["violations"]
    assert [
        (each["id"], [node["target"] for node in each["nodes"]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ] == []


def test_the_first_view_needs_no_javascript(tabs: Tabs, service: Service, name: str) -> None:
    service.call("setValue", {"name": name, "value": 1234567})
    context = tabs.context(java_script_enabled=False)
    page = tabs.open(f"/c/{name}", context, live=False)
    shown(page, "1,234,567")
    page.goto(f"/?q={name}")
    expect(page.locator(".row .value")).to_have_text("1,234,567")
    page.goto(f"/totals?q={name}")
    shown(page, "1,234,567")


def test_two_tabs_agree_within_200_ms(tabs: Tabs, name: str) -> None:
    ours, theirs = tabs.open(f"/c/{name}"), tabs.open(f"/c/{name}")
    press(ours, "#plus")
    shown(theirs, "1")
    delays = []
    for value in range(2, 12):
        theirs.evaluate("([look, value]) => { window.seen = eval(look)(value) }", [SEEN_AT, str(value)])
        clicked = ours.evaluate("() => { const at = Date.now(); document.getElementById('plus').click(); return at }")
        delays.append(theirs.evaluate("() => window.seen") - clicked)
    print("milliseconds from a click to the other tab:", delays)
    # The quickest: how slow the others are says more about who else uses this machine.
    assert min(delays) < 200


def test_every_control(tabs: Tabs, service: Service, name: str) -> None:
    page = tabs.open(f"/c/{name}")
    shown(page, "0")
    expect(page.locator("#minus")).to_have_attribute("aria-disabled", "true")
    page.locator("#amount").fill("1,500")
    press(page, "#plus", 2)
    shown(page, "3,000")
    expect(page.locator("#change")).to_have_text(re.compile(r"\+"))
    press(page, "#minus")
    shown(page, "1,500")
    page.locator("#target").fill("42")
    page.keyboard.press("Enter")
    shown(page, "42")
    expect(page.locator("#history li .what")).to_have_text(["Set", "−1,500", "+1,500", "+1,500"])
    press(page, "#reset")
    page.get_by_role("button", name="Cancel").click()
    press(page, "#reset")
    page.locator("#confirm-yes").click()
    shown(page, "0")
    page.locator("#amount").fill("-3")
    press(page, "#plus")
    expect(page.locator("#problem")).to_contain_text("whole number")
    page.locator("#amount").fill("1")
    press(page, "#plus")
    press(page, "#delete")
    page.locator("#confirm-yes").click()
    expect(page.locator("#notice")).to_contain_text("Deleted at")
    shown(page, "0")
    press(page, "#plus")
    shown(page, "1")
    expect(page.locator("#history li")).to_have_count(1)
    assert service.call("getMetadata", {"name": name})["operationCount"] == 1


def test_a_like_button_for_likes(tabs: Tabs, service: Service, name: str) -> None:
    service.call("like.add", {"name": name, "member": "<b>bob</b>"})
    context = tabs.context()
    page, other = tabs.open(f"/c/{name}", context), tabs.open(f"/c/{name}", context)
    for each in (page, other):
        shown(each, "1")
        expect(each.get_by_role("button", name="Like")).to_have_attribute("aria-pressed", "false")
        expect(each.locator("#controls")).to_be_hidden()
        expect(each.locator("#set")).to_be_hidden()
    press(page, "#like")
    # Two tabs of one browser are the same member.
    for each in (page, other):
        shown(each, "2")
        expect(each.get_by_role("button", name="Liked")).to_have_attribute("aria-pressed", "true")
        expect(each.locator("#history li .what")).to_have_text(["Liked", "Liked"])
    no_violations(page)
    page.reload()
    expect(page.get_by_role("button", name="Liked")).to_have_attribute("aria-pressed", "true")
    press(other, "#like")
    shown(page, "1")
    expect(page.get_by_role("button", name="Like", exact=True)).to_have_attribute("aria-pressed", "false")
    assert [each["member"] for each in service.call("like.members", {"name": name})["members"]] == ["<b>bob</b>"]
    press(page, "#reset")
    page.locator("#confirm-yes").click()
    shown(other, "0")


def test_everything_by_keyboard(tabs: Tabs, name: str) -> None:
    page = tabs.open("/")
    page.keyboard.press("/")
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/c/{name}")
    page.wait_for_selector("#connection[data-state=open]")
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.keyboard.press("-")
    shown(page, "1")
    expect(page.locator("#spoken")).to_have_text("1")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()


def test_the_list_offers_nothing_that_likes_would_refuse(tabs: Tabs, service: Service, name: str) -> None:
    service.call("increment", {"name": f"{name}-a"})
    service.call("like.add", {"name": f"{name}-b", "member": "ann"})
    page = tabs.open(f"/?q={name}")
    service.call("like.add", {"name": f"{name}-c", "member": "ann"})
    page.locator("#q").fill(f"{name}-")  # Asks again.
    expect(page.locator(".row .value")).to_have_text(["1", "1", "1"])
    expect(page.locator(".row .plus:visible")).to_have_count(1)
    page.locator(f".row[data-name='{name}-b'] a").focus()
    page.keyboard.press("+")
    page.locator(f".row[data-name='{name}-a'] .plus").click()
    expect(page.locator(".row .value")).to_have_text(["2", "1", "1"])
    expect(page.locator("#problem")).to_be_empty()


def test_the_list_is_live_and_can_be_searched(tabs: Tabs, service: Service, name: str) -> None:
    for suffix in "abc":
        service.call("setValue", {"name": f"{name}-{suffix}", "value": 5})
    page = tabs.open(f"/?q={name}")
    expect(page.locator(".row")).to_have_count(3)
    page.locator(f".row[data-name='{name}-b'] .plus").click()
    service.call("increment", {"name": f"{name}-c", "amount": 2})
    expect(page.locator(".row .value")).to_have_text(["5", "6", "7"])
    page.locator("#q").fill(f"{name}-c")
    expect(page.locator(".row")).to_have_count(1)
    page.locator("#q").fill("no <name>")
    expect(page.locator("#problem")).to_contain_text("letters, digits")
    expect(page.locator("#create")).to_be_hidden()
    page.locator("#q").fill(f"{name}-new")
    page.locator("#create").click()
    page.wait_for_url(f"**/c/{name}-new")


def test_a_hundred_counters_on_one_socket(tabs: Tabs, service: Service, name: str) -> None:
    for index in range(100):
        service.call("increment", {"name": f"{name}:{index:03}", "amount": index + 1})
    context = tabs.context()
    sockets: list[str] = []
    context.on("page", lambda page: page.on("websocket", lambda socket: sockets.append(socket.url)))
    page = tabs.open(f"/?q={name}:", context)
    expect(page.locator(".row")).to_have_count(100)
    for index in (0, 50, 99):
        service.call("setValue", {"name": f"{name}:{index:03}", "value": 7})
        expect(page.locator(".row .value").nth(index)).to_have_text("7")
    assert len(sockets) == 1
    page.goto(f"/totals?q={name}:")
    shown(page, f"{5050 - 1 - 51 - 100 + 21:,}")
    service.call("increment", {"name": f"{name}:001", "amount": 1000})
    shown(page, f"{5050 - 152 + 21 + 1000:,}")
    expect(page.locator("#top a").first).to_have_text(f"{name}:001")


def test_twenty_tabs(tabs: Tabs, service: Service, name: str) -> None:
    context = tabs.context()
    pages = [tabs.open(f"/c/{name}", context) for _ in range(20)]
    for page in pages:
        page.evaluate("document.getElementById('plus').click()")
    for page in pages:
        shown(page, "20")
    assert service.call("getSessions", {"name": name})["count"] == 20
    expect(pages[0].locator("#watching")).to_have_text("20 watching")


def test_a_host_is_killed_and_the_tabs_notice_nothing(tabs: Tabs, service: Service, name: str) -> None:
    ours, theirs = tabs.open(f"/c/{name}"), tabs.open(f"/c/{name}")
    press(ours, "#plus")
    shown(theirs, "1")
    for page in (ours, theirs):
        page.evaluate(STATES)
    for host in sorted(service.actors("host")):
        after = service.log_size()
        kill_actor(service, "host", host)
        press(ours, "#plus", 3)
        wait_until_back(service, "host", host, after)
    press(ours, "#plus", 3)
    for page in (ours, theirs):
        shown(page, "10")
        assert set(page.evaluate("() => window.states")) <= {"open"}
        expect(page.locator("#banner")).to_be_hidden()


def test_the_service_is_killed_and_started_again(tabs: Tabs, service: Service, name: str) -> None:
    ours, theirs = tabs.open(f"/c/{name}"), tabs.open(f"/c/{name}")
    press(ours, "#plus", 3)
    shown(theirs, "3")
    service.kill_everything()
    expect(ours.locator("#banner")).to_be_visible(timeout=15_000)
    press(ours, "#plus", 4)
    shown(ours, "7")
    expect(ours.locator("#banner")).to_contain_text("What you have changed is kept")
    service.start()
    for page in (ours, theirs):
        page.wait_for_selector("#connection[data-state=open]")
        shown(page, "7")
        expect(page.locator("#banner")).to_be_hidden()
    assert service.call("getMetadata", {"name": name})["operationCount"] == 7


def test_offline_and_back(tabs: Tabs, service: Service, name: str) -> None:
    context = tabs.context()
    page = tabs.open(f"/c/{name}", context)
    context.set_offline(True)
    expect(page.locator("#banner")).to_contain_text("You are offline")
    expect(page.locator("#connection-text")).to_have_text("Offline")
    service.call("setValue", {"name": name, "value": 9})
    context.set_offline(False)
    expect(page.locator("#banner")).to_be_hidden()
    shown(page, "9")


def test_a_proxy_that_blocks_websockets_is_named(tabs: Tabs, name: str) -> None:
    context = tabs.context()
    context.add_init_script(
        "window.WebSocket = class extends EventTarget { constructor() { super(); this.readyState = 3;"
        " setTimeout(() => this.onclose({code: 1006, reason: ''})) } close() {} }"
    )
    page = tabs.open(f"/c/{name}", context, live=False)
    expect(page.locator("#banner")).to_contain_text("blocks WebSocket")
    page.get_by_role("button", name="Try again now").click()
    expect(page.locator("#banner")).to_be_visible()
    tabs.complaints.clear()  # That the WebSocket route wants no HTTP is what the client finds out.


def test_without_storage_and_with_a_wrong_clock(tabs: Tabs, service: Service, name: str) -> None:
    service.call("setValue", {"name": name, "value": 3})
    context = tabs.context()
    context.add_init_script(
        "for (const each of ['localStorage', 'sessionStorage']) Object.defineProperty(window, each,"
        " {get() { throw new DOMException('denied', 'SecurityError') }});"
        "const now = Date.now; Date.now = () => now() + 86400000;"
    )
    page = tabs.open(f"/c/{name}", context)
    press(page, "#plus")
    shown(page, "4")
    expect(page.locator("#history time").first).to_have_text(re.compile("now|sec"))


def test_the_largest_and_smallest_value_fit(tabs: Tabs, service: Service, name: str) -> None:
    service.call("create", {"name": name, "policy": {"minimum": -(2**53 - 1)}})
    for value, text in ((2**53 - 1, "9,007,199,254,740,991"), (-(2**53 - 1), "−9,007,199,254,740,991")):
        service.call("setValue", {"name": name, "value": value})
        for viewport in (PHONE, None):
            page = tabs.open(f"/c/{name}", tabs.context(**({"viewport": viewport} if viewport else {})))
            shown(page, text)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.evaluate("(d => d.scrollWidth <= d.clientWidth)(document.getElementById('digits'))")


def test_a_number_can_be_pasted_as_the_page_shows_it(tabs: Tabs, service: Service, name: str) -> None:
    service.call("create", {"name": name, "policy": {"minimum": -(2**53 - 1)}})
    page = tabs.open(f"/c/{name}")
    for text in ("9,007,199,254,740,991", "−9,007,199,254,740,991"):
        page.locator("#target").focus()
        page.keyboard.insert_text(text)
        page.keyboard.press("Enter")
        shown(page, text)
    page.locator("#amount").fill("")
    page.keyboard.insert_text("9,007,199,254,740,991")
    press(page, "#plus")
    shown(page, "0")


@pytest.mark.parametrize("path", ["/c/..%2f", "/c/%3Cimg%20src=x%20onerror=alert(1)%3E", "/c/a b", "/c/" + "x" * 101])
def test_what_is_no_name_is_text_and_never_markup(tabs: Tabs, service: Service, path: str) -> None:
    context = tabs.context()
    page = context.new_page()
    answer = page.goto(path)
    assert answer is not None and answer.status == 404
    expect(page.locator("h1")).to_have_text("No counter can be called that")
    assert page.locator("main img").count() == 0


def test_markup_in_a_search_is_text(tabs: Tabs) -> None:
    page = tabs.open('/?q="><script>alert(1)</script><img src=x onerror=alert(1)>', live=False)
    expect(page.locator("#connection-text")).to_have_text("Ready")
    expect(page.locator("#q")).to_have_value('"><script>alert(1)</script><img src=x onerror=alert(1)>')
    assert page.locator("main img, main script").count() == 0


def test_a_name_with_every_allowed_character(tabs: Tabs, service: Service, name: str) -> None:
    odd = f"{name}_AZaz09-.:..x"
    service.call("setValue", {"name": odd, "value": 8})
    page = tabs.open(f"/?q={name}")
    page.locator(".row .name").click()
    page.wait_for_url(f"**/c/{odd}")
    shown(page, "8")


def test_scripts_and_styles_of_others_are_not_run(tabs: Tabs) -> None:
    context = tabs.context()
    page = context.new_page()
    page.goto("/")
    ran = page.evaluate(
        "() => new Promise(resolve => {"
        " addEventListener('securitypolicyviolation', () => resolve(window.ran), {once: true});"
        " const script = document.createElement('script'); script.textContent = 'window.ran = 1';"
        " document.body.append(script) })"
    )
    assert ran is None


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/c/{}", "/totals", "/c/a b"])
def test_axe_finds_nothing_serious(tabs: Tabs, service: Service, name: str, theme: str, path: str) -> None:
    service.call("increment", {"name": name})
    page = tabs.open(path.format(name), tabs.context(color_scheme=theme, reduced_motion="reduce"), live=False)
    page.wait_for_load_state("networkidle")
    tabs.complaints.clear()  # The 404 of a name that is none.
    no_violations(page)


def test_the_theme_can_be_switched_and_stays(tabs: Tabs) -> None:
    page = tabs.open("/")
    page.get_by_role("button", name="Switch between light and dark").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_the_link_is_shared(tabs: Tabs, name: str) -> None:
    context = tabs.context()
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = tabs.open(f"/c/{name}", context)
    press(page, "#share")
    expect(page.locator("#toast")).to_have_text("The link is copied.")
    assert page.evaluate("navigator.clipboard.readText()") == page.url


def test_a_reset_for_want_of_use_is_announced_and_says_why(tabs: Tabs, service: Service, name: str) -> None:
    service.call("create", {"name": name, "policy": {"reset_after": 4}})
    page = tabs.open(f"/c/{name}")
    press(page, "#plus", 2)
    shown(page, "2")
    expect(page.locator("#countdown")).to_contain_text("unless somebody uses it")
    expect(page.locator("#notice")).to_contain_text("because nobody had used it")
    shown(page, "0")
    expect(page.locator("#history li .what").first).to_have_text("Reset: nobody had used it")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator("#notice")).to_be_hidden()


def test_a_reset_on_schedule_comes_whether_it_is_used_or_not(tabs: Tabs, service: Service, name: str) -> None:
    service.call("create", {"name": name, "policy": {"reset_schedule": "0 0 1 1 *"}})
    page = tabs.open(f"/c/{name}")
    press(page, "#plus")
    expect(page.locator("#countdown")).to_have_text(re.compile(r"^Resets in [\d:]+$"))
    service.call("configure", {"name": name, "policy": {"reset_schedule": None, "reset_after": 3600}})
    press(page, "#plus")
    expect(page.locator("#countdown")).to_have_text(re.compile(r"^Resets in [\d:]+ unless somebody uses it$"))


def test_minus_is_disabled_at_the_minimum_of_the_counter(tabs: Tabs, service: Service, name: str) -> None:
    service.call("create", {"name": name, "policy": {"minimum": -2}})
    service.call("increment", {"name": name})
    page = tabs.open(f"/c/{name}")
    press(page, "#minus", 3)
    shown(page, "−2")
    expect(page.locator("#minus")).to_have_attribute("aria-disabled", "true")
    press(page, "#plus")
    expect(page.locator("#minus")).to_have_attribute("aria-disabled", "false")


def test_the_first_view_weighs_little(service: Service) -> None:
    def fetch(path: str) -> tuple[int, str]:
        request = urllib.request.Request(service.url + path, headers={"accept-encoding": "gzip"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            body = answer.read()
            return len(body), body.decode("latin-1")

    html = urllib.request.urlopen(f"{service.url}/", timeout=10).read().decode()
    named = {path for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', html)}
    sizes = {path.split("?")[0]: fetch(path)[0] for path in sorted(named)} | {"/": fetch("/")[0]}
    print("bytes over the wire:", sizes)
    assert sizes["/static/page.js"] <= 35 * 1024
    assert sum(sizes.values()) <= 60 * 1024
