"""Test every page: a screen reader can use it, its window holds it, stored text does nothing."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page
from sqlalchemy import update

from nemorouter.roles import Actor
from nemorouter.services.access import invitations
from nemorouter.services.budgets import prices
from nemorouter.services.budgets.budgets import NewBudget
from nemorouter.services.scopes import keys
from nemorouter.services.transaction.context import Context
from nemorouter.store import schema
from tests.browser.conftest import EMAIL, PASSWORD, Open, Site, apart, require_accessible
from tests.support.servers import chat, until

PAYLOADS = {
    "script": "<script>alert('name')</script>",
    "attribute": "\"><img src=x onerror=alert('attribute')>",
    "formula": "=cmd()|' /C calc'!A0",
    "marks": "evil \u202etxt.exe\u202c مفتاح",
    "template": "{{ 7 * 191 }} {% raw %}",
}
PATHS = [
    "",
    "/keys",
    "/keys/new",
    "/budgets",
    "/teams",
    "/people/members",
    "/logs",
    "/audit",
    "/hosts",
    "/settings",
    "/settings/prices",
    "KEY",
    "KEY/delete",
    "TEAM",
    "MEMBER",
]


@pytest.fixture(scope="module")
def filled(site: Site) -> Site:
    """Fill the site with hostile names, requests of each key, an invitation and an odd price."""
    for name in PAYLOADS.values():
        secret = _key(site, name)
        assert site.server.call(body=chat(), key=secret).status == 200
        assert site.server.call(body=chat(model="none<script>"), key=secret).status == 403
    site.change(
        lambda c, a: invitations.create(
            c, a, invitations.NewInvitation(email="o'bob&co@example.com")
        )
    )
    site.change(lambda c, a: prices.set_price(c, a, prices.Price(model="<script>m", input="1")))
    listed = site.change(lambda c, a: keys.list_keys(c, a, q="<script>")).data
    site.ids |= {"KEY": f"/keys/{listed[0].id}", "TEAM": f"/teams/{listed[0].team_id}"}
    until(lambda: site.host._count() >= len(PAYLOADS), what="the requests do not appear in the log")
    return site


def _without_marks(name: str) -> str:
    return name.replace("\u202e", "").replace("\u202c", "")


def _key(site: Site, name: str) -> str:
    """Make a key; names with marks are written into the store, as one before they were refused."""
    plain = _without_marks(name)
    secret = apart(lambda: site.host.key(plain, rpm=600, budget=NewBudget(max_spend="1")))

    async def rename(context: Context, _: Actor) -> None:
        async with context.store.begin() as connection:
            row = update(schema.keys).where(schema.keys.c.name == plain)
            await connection.execute(row.values(name=name))

    site.change(rename)
    return secret


def _goto(page: Page, site: Site, path: str) -> None:
    if path == "MEMBER":
        page.goto(f"{site.url}{site.path}/people/members")
        page.click("tbody a >> nth=0")
        return
    for word, real in site.ids.items():
        path = path.replace(word, real)
    page.goto(f"{site.url}{site.path}{path}")


@pytest.mark.parametrize("path", PATHS)
def test_pages_are_accessible_fit_and_inert(filled: Site, open_page: Open, path: str) -> None:
    page = open_page()
    _goto(page, filled, path)
    assert page.evaluate(
        "['h1', 'script', 'img'].map(tag => document.querySelectorAll(tag).length)"
    ) == [1, 1, 0]
    require_accessible(page)
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize(
    "path", ["/login", "/invitations/accept?token=x", "/reset?token=x", "/no/where"]
)
def test_pages_for_strangers_are_accessible(site: Site, stranger: Page, path: str) -> None:
    stranger.goto(site.url + path)
    require_accessible(stranger)


def test_names_are_shown_as_they_are(filled: Site, open_page: Open) -> None:
    names = set(PAYLOADS.values())
    page = open_page("/keys")
    assert names <= set(page.locator("tbody bdi").all_text_contents())
    page.goto(f"{filled.url}{filled.path}/logs")
    assert names <= set(page.locator("tbody bdi").all_text_contents())
    page.goto(f"{filled.url}{filled.path}/audit?action=key.created")
    assert set(map(_without_marks, names)) <= set(page.locator("bdi.now").all_text_contents())


def test_csv_runs_no_formula(filled: Site, open_page: Open) -> None:
    page = open_page("/logs")
    with page.expect_download() as download:
        page.click("text=Download CSV")
    text = download.value.path().read_text("utf-8")
    assert text.startswith("request_id,at,")
    assert "'=cmd()" in text
    assert ",=cmd()" not in text


def test_a_refused_form_keeps_what_was_typed(site: Site, open_page: Open) -> None:
    page = open_page("/keys/new")
    page.evaluate(
        "document.querySelectorAll('[maxlength]').forEach(e => e.removeAttribute('maxlength'))"
    )
    page.fill("[name=name]", "n" * 10_000)
    page.fill("[name=rpm]", "60")
    page.click("main button.primary")
    assert page.input_value("[name=name]") == "n" * 10_000
    assert page.input_value("[name=rpm]") == "60"
    described = page.get_attribute("[name=name]", "aria-describedby") or ""
    assert page.inner_text(f"#{described.split()[0]}") == "The name must have 1 to 200 characters."
    page.fill("[name=name]", "fine")
    page.fill("[name=rpm]", "lots")
    page.click("main button.primary")
    assert "whole number" in page.inner_text(".error")
    assert page.input_value("[name=name]") == "fine"


def test_limits_change_in_place(filled: Site, open_page: Open) -> None:
    page = open_page()
    _goto(page, filled, "KEY")
    page.fill("[name=rpm]", "1,234")
    page.fill("[name=max_spend]", "")
    page.click("#edit button.primary")
    assert "Saved" in page.inner_text("[role=status]")
    assert page.input_value("[name=rpm]") == "1234"
    assert "None of its own" in page.inner_text("main")


def test_what_is_deleted_in_the_settings_is_named_first(site: Site, open_page: Open) -> None:
    page = open_page("/settings")
    page.fill("#mk-name", "ci <i>robot</i>")
    page.click('button:text("Create management key")')
    page.goto(f"{site.url}{site.path}/settings")
    page.fill("#hook-url", "https://example.org/hook")
    page.click('button:text("Add webhook")')
    for section, name in (
        ("management-keys", "ci <i>robot</i>"),
        ("webhooks", "https://example.org/hook"),
    ):
        page.goto(f"{site.url}{site.path}/settings")
        page.click(f"#{section} a:has-text('Delete')")
        assert name in page.inner_text("main")
        require_accessible(page)
        page.click("main form button")
        assert "is deleted" in page.inner_text("[role=status]")
    assert page.locator("#webhooks tbody").count() == 0


def test_duplicate_reveals_another_key(filled: Site, open_page: Open) -> None:
    page = open_page()
    _goto(page, filled, "KEY")
    page.click('button:text("Duplicate")')
    assert filled.server.call(body=chat(), key=page.inner_text("#new-key")).status == 200


def test_a_form_without_its_token_does_nothing(site: Site, open_page: Open) -> None:
    page = open_page("/keys/new")
    page.fill("[name=name]", "forged")
    page.evaluate("document.querySelectorAll('[name=csrf_token]').forEach(e => { e.value = 'x'; })")
    page.click("main button.primary")
    assert "Not allowed" in page.inner_text("h1")
    assert site.change(lambda c, a: keys.list_keys(c, a, q="forged")).data == []


@pytest.fixture
def stranger(browser: Browser, site: Site) -> Iterator[Page]:
    """Somebody who has not signed in."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def test_invited_people_join_with_their_role(site: Site, open_page: Open, stranger: Page) -> None:
    page = open_page("/people/members")
    page.fill("[name=email]", "mia@example.com")
    page.select_option("[name=role]", "member")
    page.click('button:text("Make an invitation")')
    link = page.inner_text("#link")
    stranger.goto(link)
    stranger.fill("[name=name]", "Mia")
    stranger.fill("[name=password]", PASSWORD)
    stranger.fill("[name=again]", PASSWORD + "?")
    stranger.click("main button")
    assert "differ" in stranger.inner_text(".error")
    stranger.fill("[name=password]", PASSWORD)
    stranger.fill("[name=again]", PASSWORD)
    stranger.click("main button")
    assert stranger.locator("nav >> text=Keys").count() == 1
    assert stranger.locator("nav >> text=Audit").count() == 0
    stranger.goto(f"{site.url}{site.path}/keys")
    assert "No keys yet" in stranger.inner_text("main")  # the owner's are not a member's to see
    stranger.goto(f"{site.url}{site.path}/audit")
    assert "Not allowed" in stranger.inner_text("h1")
    stranger.goto(link)
    assert "does not work" in stranger.inner_text("h1")


def test_sign_in_and_out(site: Site, stranger: Page) -> None:
    stranger.goto(f"{site.url}{site.path}/keys")
    assert stranger.url.endswith("/login")
    stranger.fill("[name=email]", EMAIL)
    stranger.fill("[name=password]", "wrong horse")
    stranger.click("main button")
    assert "wrong" in stranger.inner_text(".error")
    assert stranger.input_value("[name=email]") == EMAIL
    assert stranger.input_value("[name=password]") == ""
    stranger.fill("[name=password]", PASSWORD)
    stranger.click("main button")
    assert stranger.url == f"{site.url}{site.path}"
    stranger.click("summary[aria-label^=Account]")
    stranger.click("text=Sign out")
    assert "signed out" in stranger.inner_text("[role=status]")
    stranger.goto(f"{site.url}{site.path}")
    assert stranger.url.endswith("/login")


def test_a_new_password_ends_other_sessions(site: Site, open_page: Open, browser: Browser) -> None:
    others = []
    for _ in range(2):
        context = browser.new_context()
        others.append(context.new_page())
        others[-1].goto(site.url + "/login")
        others[-1].fill("[name=email]", EMAIL)
        others[-1].fill("[name=password]", PASSWORD)
        others[-1].click("main button")
    page = open_page("/settings")
    page.fill("[name=current_password]", PASSWORD)
    page.fill("[name=new_password]", PASSWORD)
    page.fill("[name=again]", PASSWORD)
    page.click("button:text('Change password')")
    assert "changed" in page.inner_text("[role=status]")
    for other in others:
        other.goto(site.url + site.path)
        assert other.url.endswith("/login")
        other.context.close()
