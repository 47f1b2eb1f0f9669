"""Test the table of routes: nothing else is served, and each page asks for its access.

That holds for every role and org.
"""

from typing import Any

import pytest
from litestar import get
from litestar.params import FromPath

from nemorouter import ids
from nemorouter.control import app as control_app
from nemorouter.control import pages, policy
from nemorouter.roles import ACTIONS, OPERATOR_ACTIONS, Actor, Role
from nemorouter.services.access import invitations, management
from nemorouter.services.budgets import budgets, webhooks
from nemorouter.services.scopes import keys
from nemorouter.services.scopes.limits import NewScope
from nemorouter.services.scopes.teams import create_team
from nemorouter.services.transaction.context import Context
from nemorouter.store.schema import metadata
from nemorouter.types import Kind
from tests.unit.control.conftest import Person, Plane, person

ORG_PAGES = sorted(route for route in policy.ROUTES if " /{org}" in route)
WITH_ID = [route for route in ORG_PAGES if "{id}" in route]
CHANGES = sorted(
    route
    for route, access in policy.ROUTES.items()
    if route.startswith("POST /{org}") or route == "POST /logout"
)
FIELDS = {
    "name": "x",
    "email": "x@example.org",
    "role": "member",
    "max_spend": "1",
    "duration": "total",
}
FIELDS |= {"url": "https://example.org/", "status": "active", "model": "m", "input": "1"}
NOTED = (
    "orgs",
    "teams",
    "users",
    "memberships",
    "keys",
    "budgets",
    "management_keys",
    "invitations",
    "webhooks",
)


async def things(context: Context, actor: Actor) -> dict[str, str]:
    """One of each kind, with its id."""
    key = (await keys.create(context, actor, keys.NewKey(name="key"))).view.id
    await budgets.set_budget(context, actor, Kind.KEY, key, budgets.NewBudget(max_spend="5"))
    team = (await create_team(context, actor, NewScope(name="team"))).id
    user = await person(context, Role.MEMBER, actor.org)
    invited = await invitations.create(
        context, actor, invitations.NewInvitation(email="i@example.org")
    )
    made = await management.create(context, actor, management.NewManagementKey(name="mk"))
    hook = await webhooks.create(context, actor, webhooks.NewWebhook(url="https://example.org/"))
    return {
        "keys": key,
        "budgets": key,
        "teams": team,
        "settings/operators": ids.to_text("user", user.actor.user),
        "people/members": ids.to_text("user", user.actor.user),
        "people/invitations": invited.view.id,
        "settings/management-keys": made.view.id,
        "settings/webhooks": hook.view.id,
    }


async def rows(context: Context) -> dict[str, Any]:
    """All that a page could change."""
    async with context.store.read() as connection:
        return {
            name: [
                tuple(row)
                for row in await connection.execute(metadata.tables[name].select().order_by("id"))
            ]
            if "id" in metadata.tables[name].c
            else [tuple(row) for row in await connection.execute(metadata.tables[name].select())]
            for name in NOTED
        }


def test_every_route_that_is_served_is_in_the_table_and_no_other(context: Context) -> None:
    assert (
        set(control_app.served(control_app.litestar(context, context.settings)))
        - set(policy.ROUTES)
        == set()
    )
    served = {
        route.replace("{id:str}", "{id}")
        for route in control_app.served(control_app.litestar(context, context.settings))
    }
    assert {route for route in policy.ROUTES if not route.startswith("HEAD")} <= served


def test_a_route_without_a_policy_stops_the_start(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    @get("/{org:str}/forgotten")
    async def forgotten(org: FromPath[str]) -> str:
        return org

    before = pages.routes()
    monkeypatch.setattr(pages, "routes", lambda: [*before, forgotten])
    with pytest.raises(RuntimeError, match=r"GET /\{org\}/forgotten"):
        control_app.litestar(context, context.settings)


def test_every_access_is_a_word_that_is_known() -> None:
    assert set(policy.ROUTES.values()) <= {
        *ACTIONS,
        *OPERATOR_ACTIONS,
        policy.PUBLIC,
        policy.SIGNED_IN,
        policy.SESSION,
    }
    assert policy.access("GET", "/nowhere") is None
    assert policy.access("DELETE", "/login") is None
    assert policy.allowed("/login") == ["GET", "POST"]
    assert policy.allowed("/acme/keys/key_1") == ["GET", "POST"]
    assert policy.allowed("/a/b/c/d/e") == []


async def test_strangers_see_public_pages_only(plane: Plane, ada: Person) -> None:
    for route, access in policy.ROUTES.items():
        method, _, path = route.partition(" ")
        answer = await plane(
            method,
            path.replace("{org}", ada.org[1:]).replace("{id}", "key_0").replace("{name}", "x"),
        )
        if access == policy.PUBLIC:
            assert answer.status in (200, 303, 400, 404), route
            assert answer.headers.get("location", "/login") in ("/login", "/setup"), route
        elif "/api/" in path:
            assert answer.status == 401, route
        else:
            assert (answer.status, answer.headers["location"]) == (303, "/login"), route


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER], ids=lambda role: role.name.lower())
async def test_a_page_is_for_the_roles_of_its_action(
    context: Context, plane: Plane, ada: Person, role: Role
) -> None:
    found = await things(context, ada.actor)
    who = await person(context, role, ada.actor.org)
    before = await rows(context)
    refused = 0
    for route in ORG_PAGES:
        action = policy.ROUTES[route]
        if action not in OPERATOR_ACTIONS and role in ACTIONS.get(action, Role):
            continue
        method, _, path = route.partition(" ")
        answer = await plane(
            method, _real(path, ada, found), who, {**FIELDS, "csrf_token": who.csrf}
        )
        assert answer.status == 403, (route, answer.text[-600:])
        refused += 1
    assert refused
    assert await rows(context) == before


async def test_another_org_does_not_exist(
    context: Context, plane: Plane, ada: Person, eve: Person
) -> None:
    found = await things(context, ada.actor)
    before = await rows(context)
    fields = {**FIELDS, "csrf_token": eve.csrf}
    for route in ORG_PAGES:
        method, _, path = route.partition(" ")
        answer = await plane(method, _real(path, ada, found), eve, fields)
        assert answer.status == 404, route
        nowhere = await plane(
            method, path.replace("{org}", "nowhere").replace("{id}", "key_0"), eve, fields
        )
        assert nowhere.status == 404, route
        assert answer.text == nowhere.text, route  # not told apart from what was never there
    for route in WITH_ID:
        method, _, path = route.partition(" ")
        for id in {*found.values(), "key_0000000000000", "team", "../x", "x" * 300}:
            real = path.replace("{org}", eve.org[1:]).replace("{id}", id)
            answer = await plane(method, real, eve, fields)
            hidden = (403, 404) if policy.ROUTES[route] in OPERATOR_ACTIONS else (404, 405)
            assert answer.status in hidden, (route, id, answer.status)
    assert await rows(context) == before


@pytest.mark.parametrize("route", CHANGES)
async def test_every_change_needs_the_token_of_its_session(
    context: Context, plane: Plane, ada: Person, eve: Person, route: str
) -> None:
    path = _real(route.partition(" ")[2], ada, await things(context, ada.actor))
    before = await rows(context)
    forged: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, {}),
        ({"csrf_token": ""}, {}),
        ({"csrf_token": eve.csrf}, {}),
        ({"csrf_token": ada.csrf.upper()}, {}),
        ({"csrf_token": ada.csrf}, {"sec-fetch-site": "cross-site"}),
        ({"csrf_token": ada.csrf}, {"sec-fetch-site": "same-site"}),
        ({"csrf_token": ada.csrf}, {"sec-fetch-site": "none"}),
        ({"csrf_token": ada.csrf}, {"origin": "null"}),
        ({"csrf_token": ada.csrf}, {"origin": "http://localhost:8001"}),
        ({"csrf_token": ada.csrf}, {"content-type": "text/plain"}),
        ({"csrf_token": ada.csrf}, {"content-type": "multipart/form-data; boundary=x"}),
    ]
    for fields, headers in forged:
        answer = await plane("POST", path, ada, {**FIELDS, **fields}, headers)
        assert answer.status == 403, (fields, headers)
    assert await rows(context) == before


def _real(path: str, who: Person, found: dict[str, str]) -> str:
    place = next((name for name in found if f"}}/{name}/" in path), "")
    return path.replace("{org}", who.org[1:]).replace("{id}", found.get(place, ""))
