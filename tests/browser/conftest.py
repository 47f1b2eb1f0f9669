"""A real browser before a real server: Debian's Chromium, driven by Playwright."""

import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from nemorouter.roles import Actor
from nemorouter.services.context import Context
from tests.integration.servers import Host, Server

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
        """Where it listens."""
        return f"http://localhost:{self.server.port}"


Open = Callable[..., Page]


def apart(work: Callable[[], T]) -> T:
    """Run something with an event loop of its own: Playwright's runs in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


@pytest.fixture(scope="module")  # not longer: while it lives, no other test of this process can run a loop
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def setup_url(server: Server) -> str:
    """The link that the server printed when it started."""
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


@pytest.fixture
def open_page(browser: Browser, site: Site) -> Iterator[Open]:
    """Opens a page as the owner. What a page complains of, or would run, fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def opened(path: str = "", *, scheme: str = "light", width: int = 1280) -> Page:
        context = browser.new_context(
            storage_state=site.cookies,
            color_scheme="dark" if scheme == "dark" else "light",
            viewport={"width": width, "height": 900},
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"ran: {dialog.message}"))
        page.goto(f"{site.url}{site.path}{path}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [text for text in complaints if "status of 4" not in text] == []
