"""Forms sent twice, and links for a new password: what is shown once is made once."""

import re

import pytest

from nemorouter import ids
from nemorouter.errors import NotFoundError, RefusedError
from nemorouter.roles import Role
from nemorouter.services.access import management, people, reset, sessions, signin
from nemorouter.services.access.people import MemberPatch
from nemorouter.services.budgets import webhooks
from nemorouter.services.reports import audit
from nemorouter.services.reports.audit import AuditFilter
from nemorouter.services.scopes import keys
from nemorouter.services.transaction.context import Context
from tests.unit.control.conftest import BLANK, Person, Plane, person

PASSWORD = "correct horse battery"


def fields(page: str, action: str) -> dict[str, str]:
    """Return the hidden fields of a form, as a browser without scripts sends them."""
    form = re.search(
        rf'<form[^>]*action="[^"]*{re.escape(action)}"[^>]*>(.*?)</form>', page, re.DOTALL
    )
    assert form is not None, page
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form[1]))


async def test_a_reload_of_the_reveal_makes_no_second_key(
    context: Context, plane: Plane, ada: Person
) -> None:
    form = fields((await plane("GET", f"{ada.org}/keys/new", ada)).text, "/keys/new")
    assert set(form) == {"csrf_token", "once", "allowed_endpoints"}
    form = {**form, **BLANK, "team": "Default", "name": "chat"}
    first = await plane("POST", f"{ada.org}/keys/new", ada, form)
    secret = re.search(r"sk-nemo-[A-Za-z0-9]{20}", first.text)
    assert secret is not None
    second = await plane("POST", f"{ada.org}/keys/new", ada, form)
    (key,) = [one for one in (await keys.list_keys(context, ada.actor)).data if one.name == "chat"]
    assert (second.status, second.headers["location"]) == (
        303,
        f"{_home(ada)}/keys/{key.id}?done=made-before",
    )
    shown = await plane("GET", second.headers["location"], ada)
    assert "sent before" in shown.text
    assert secret[0] not in shown.text


async def test_other_fields_or_another_form_mean_another_key(
    context: Context, plane: Plane, ada: Person
) -> None:
    form = fields((await plane("GET", f"{ada.org}/keys/new", ada)).text, "/keys/new")
    again = fields((await plane("GET", f"{ada.org}/keys/new", ada)).text, "/keys/new")
    named = ((form, "a"), (form, "b"), (again, "a"))
    for given in ({**start, "team": "Default", "name": name} for start, name in named):
        assert (await plane("POST", f"{ada.org}/keys/new", ada, {**BLANK, **given})).status == 200
    names = [one.name for one in (await keys.list_keys(context, ada.actor)).data]
    assert sorted(names) == ["a", "a", "b"]


async def test_a_refused_form_may_be_sent_again(plane: Plane, ada: Person) -> None:
    form = fields((await plane("GET", f"{ada.org}/keys/new", ada)).text, "/keys/new")
    given = {**form, **BLANK, "name": "x", "team": "team_0000000000000"}
    for _ in range(2):
        assert (await plane("POST", f"{ada.org}/keys/new", ada, given)).status in (400, 404)


async def test_what_else_is_shown_once_is_made_once(
    context: Context, plane: Plane, ada: Person
) -> None:
    made = (await keys.create(context, ada.actor, keys.NewKey(name="old"))).view
    asked: tuple[tuple[str, str, dict[str, str]], ...] = (
        (f"/keys/{made.id}", f"/keys/{made.id}/duplicate", {}),
        ("/settings", "/settings/management-keys", {"name": "ci"}),
        ("/settings", "/settings/webhooks", {"url": "https://example.org/"}),
        ("/people/members", "/people/invitations", {"email": "i@example.org", "role": "viewer"}),
    )
    for path, action, given in asked:
        form = fields((await plane("GET", ada.org + path, ada)).text, action)
        sent = [await plane("POST", ada.org + action, ada, {**form, **given}) for _ in range(2)]
        assert [one.status for one in sent] == [200, 303], action
        assert sent[1].headers["location"].endswith("done=made-before")
    assert [one.name for one in (await keys.list_keys(context, ada.actor)).data] == [
        "old (copy)",
        "old",
    ]
    made_keys = await management.list_management_keys(context, ada.actor)
    assert [one.name for one in made_keys].count("ci") == 1
    assert len(await webhooks.list_webhooks(context, ada.actor)) == 1


async def test_a_link_sets_a_password_once(context: Context, plane: Plane, ada: Person) -> None:
    who = await person(context, Role.MEMBER, ada.actor.org)
    id = ids.to_text("user", who.actor.user)
    page = (await plane("GET", f"{ada.org}/people/members/{id}", ada)).text
    shown = await plane("POST", f"{ada.org}/people/members/{id}/reset", ada, fields(page, "/reset"))
    link = re.search(r"http://localhost:8000(/reset\?token=[\w.-]+)", shown.text)
    assert link is not None
    assert await sessions.find(context, who.cookie, "")  # nothing ends before the link is used
    form = fields((await plane("GET", link[1])).text, "/reset")
    typed = {**form, "password": PASSWORD, "again": "other"}
    assert "differ" in (await plane("POST", "/reset", fields=typed)).text
    done = await plane("POST", "/reset", fields={**typed, "again": PASSWORD})
    assert done.status == 303
    assert "nemo_session=" in done.headers["set-cookie"]
    assert await sessions.find(context, who.cookie, "") is None
    assert await signin.sign_in(context, who.actor.name, PASSWORD, "127.0.0.1")
    assert (await plane("GET", link[1])).status == 404
    assert (await plane("POST", "/reset", fields={**typed, "again": PASSWORD})).status == 404
    told = (await audit.list_audit(context, ada.actor, AuditFilter(resource=id), limit=10)).data
    assert {"password.reset_issued", "password.changed"} <= {event.action for event in told}


async def test_a_newer_link_ends_the_older_and_a_disabled_person_gets_none(
    context: Context, ada: Person
) -> None:
    who = await person(context, Role.MEMBER, ada.actor.org)
    id = ids.to_text("user", who.actor.user)
    older = (await reset.issue(context, ada.actor, id)).token
    newer = (await reset.issue(context, ada.actor, id)).token
    wrong = [
        older,
        newer[:-1],
        newer.partition(".")[2],
        f"{ids.to_text('user', ada.actor.user)}.{newer.partition('.')[2]}",
    ]
    for token in [*wrong, "", ".", "user_0000000000000.x", "é"]:
        with pytest.raises(NotFoundError):
            await reset.peek(context, token)
    assert await reset.peek(context, newer) == who.actor.name
    await people.patch_member(context, ada.actor, id, MemberPatch(status="disabled"))
    with pytest.raises(NotFoundError):
        await reset.complete(context, newer, PASSWORD, "")
    with pytest.raises(RefusedError, match="disabled"):
        await reset.issue(context, ada.actor, id)


async def test_an_admin_takes_over_no_owner(context: Context, ada: Person, eve: Person) -> None:
    admin = await person(context, Role.ADMIN, ada.actor.org)
    with pytest.raises(RefusedError, match="owner"):
        await reset.issue(context, admin.actor, ids.to_text("user", ada.actor.user))
    with pytest.raises(NotFoundError):
        await reset.issue(context, eve.actor, ids.to_text("user", ada.actor.user))


def _home(who: Person) -> str:
    """Return the address that redirects use: the org by its name."""
    return "/acme" if who.actor.name else who.org
