"""Walk the whole way of a newcomer, with scripts and without them.

Set up, create a team and a key, send a request, see its spend, revoke the key, and be refused.
"""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import apart, require_accessible, set_up, setup_url
from tests.support.servers import Host, Server, chat, until


def _spend(page: Page) -> str:
    page.reload()
    return page.inner_text("dl.stats dd >> nth=0")


def _visit_before_set_up(page: Page, server: Server) -> None:
    """Look at the page for somebody who lost the link, and at the form behind the link.

    No other test can: a server shows them only until it is set up.
    """
    page.goto(f"http://localhost:{server.port}/")
    assert page.url.endswith("/setup")
    page.goto(setup_url(server))
    require_accessible(page)
    page.emulate_media(color_scheme="light")


def _create_team(page: Page) -> None:
    page.click("nav >> text=Teams")
    page.fill("[name=name]", "Research")
    page.click('button:text("Create team")')
    assert page.inner_text("h1") == "Research"


def _create_key(page: Page, scripts: bool) -> str:
    """Create a key, which is shown once; a reload neither shows it again nor makes a second one."""
    page.click("nav >> text=Keys")
    page.click("header >> text=Create Key")
    assert page.url.endswith("/keys" if scripts else "/keys/new")
    form = "dialog " if scripts else "main "
    page.fill(form + "[name=name]", "production chat")
    page.select_option(form + "[name=team]", label="Research")
    page.fill(form + "[name=max_spend]", "5")
    page.click(form + "button.primary")
    key = page.inner_text("#new-key")
    assert len(key) == 28
    assert page.is_visible("[data-copy=new-key]") is scripts
    if scripts:
        page.click("[data-copy=new-key]")
        page.wait_for_selector("text=Copied")
        assert page.evaluate("navigator.clipboard.readText()") == key
    page.reload()  # with scripts, of the key's page; without, it sends the form again
    assert page.inner_text("h1") == "production chat"
    if not scripts:
        assert "sent before" in page.inner_text("[role=status]")
    assert key not in page.content()
    return key


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_from_nothing_to_a_deleted_key(browser: Browser, tmp_path: Path, scripts: bool) -> None:
    host = apart(lambda: Host(tmp_path))
    with host.serve(workers=1) as server:
        context = browser.new_context(java_script_enabled=scripts)
        if scripts:
            context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        if scripts:
            _visit_before_set_up(page, server)
        assert set_up(page, server) == "/acme-labs"
        _create_team(page)
        key = _create_key(page, scripts)

        assert server.call(body=chat(), key=key).status == 200
        until(lambda: _spend(page) != "$0.00", what="the spend does not appear")
        assert "$5.00 monthly" in page.inner_text(".bar")

        page.click('a:text-is("Delete")')
        assert "production chat" in page.inner_text("main")
        page.click("main button")
        assert "Revoked" in page.inner_text("h1 + p")
        assert server.call(body=chat(), key=key).status == 401
        context.close()
