"""A real browser before a real server: Debian's Chromium, driven by Playwright."""

import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it ships no types
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Error, Page, sync_playwright

from nemorouter.roles import Actor
from nemorouter.services.transaction.context import Context
from tests.support.servers import Host, Server

PASSWORD = "correct horse battery staple"
EMAIL = "ada@example.com"


T = TypeVar("T")


@dataclass
class Site:
    """A server that was set up in a browser, and the cookies of its owner."""

    host: Host
    server: Server
    path: str
    cookies: Path
    ids: dict[str, str] = field(default_factory=dict)
    """Words for paths that hold ids."""

    def change(self, work: Callable[[Context, Actor], Any]) -> Any:
        """Run one service as the owner."""
        return apart(lambda: self.host.change(work))

    @property
    def url(self) -> str:
        """Return the server's address."""
        return f"http://localhost:{self.server.port}"


Open = Callable[..., Page]


def apart(work: Callable[[], T]) -> T:
    """Run something with an event loop of its own: Playwright's runs in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


@pytest.fixture(
    scope="module"
)  # not longer: while it lives, no other test of this process can run a loop
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


def setup_url(server: Server) -> str:
    """Return the link that the server printed when it started."""
    found = re.search(r"/setup\?token=\S+", server.log.read_text())
    assert found is not None, server.log.read_text()
    return f"http://localhost:{server.port}{found[0]}"


def set_up(page: Page, server: Server) -> str:
    """Become the owner; answers the path of the org."""
    page.goto(setup_url(server))
    page.fill("[name=org]", "Acme Labs")
    page.fill("[name=name]", "Ada")
    page.fill("[name=email]", EMAIL)
    page.fill("[name=password]", PASSWORD)
    page.fill("[name=again]", PASSWORD)
    page.click("main button")
    page.wait_for_selector("h1:has-text('Acme Labs')")
    return "/" + page.url.rpartition("/")[2].partition("?")[0]


def require_accessible(page: Page) -> None:
    """Nothing serious in light colours; in dark ones only the contrast can be another."""
    found: Any = Axe().run(page).response["violations"]
    page.emulate_media(color_scheme="dark")
    found += page.evaluate("axe.run(document, {runOnly: ['color-contrast']})")["violations"]
    serious = [
        f"{one['id']}: {node['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert serious == []


@pytest.fixture(scope="module")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One server for all tests that do not need a fresh one."""
    folder = tmp_path_factory.mktemp("site")
    host = apart(lambda: Host(folder))
    with host.serve(workers=1) as server:
        context = browser.new_context()
        path = set_up(context.new_page(), server)
        context.storage_state(path=folder / "cookies.json")
        context.close()
        yield Site(host, server, path, folder / "cookies.json")


@pytest.fixture(scope="module")
def tab(browser: Browser, site: Site) -> Iterator[Page]:
    """Open the owner's one tab; another for each test would cost most of a second."""
    context = browser.new_context(storage_state=site.cookies)
    yield context.new_page()
    context.close()


@pytest.fixture
def open_page(tab: Page, site: Site) -> Iterator[Open]:
    """Return a function that opens a page as the owner.

    A complaint of the page, or an attempt to run a script, fails the test.
    """
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error" and "status of 4" not in message.text:
            complaints.append(message.text)

    def failed(error: Error) -> None:
        complaints.append(str(error))

    def asked(dialog: Dialog) -> None:
        complaints.append(f"ran: {dialog.message}")
        dialog.dismiss()

    listeners: list[tuple[Any, Callable[[Any], None]]] = [
        ("console", heard),
        ("pageerror", failed),
        ("dialog", asked),
    ]

    def opened(path: str = "") -> Page:
        tab.set_viewport_size({"width": 1280, "height": 900})
        tab.emulate_media(color_scheme="light")
        tab.goto(f"{site.url}{site.path}{path}")
        return tab

    for event, listener in listeners:
        tab.on(event, listener)
    yield opened
    for event, listener in listeners:
        tab.remove_listener(event, listener)
    assert complaints == []
