"""Test two orgs in one installation, and every role, by the table of calls.

No new call is forgotten.
"""

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from nemorouter import ids
from nemorouter.control import policy
from nemorouter.control.api import ROUTES
from nemorouter.control.api.call import Route
from nemorouter.roles import ACTIONS, OPERATOR_ACTIONS, Role
from nemorouter.store.schema import metadata
from tests.support.api import Api, management_key, second_org
from tests.support.servers import Host, Server

BODIES: dict[str, Any] = {
    "POST /keys": {"name": "stolen"},
    "PATCH /keys/{id}": {"name": "stolen"},
    "POST /keys/{id}/revoke": {},
    "POST /keys/{id}/duplicate": {"name": "stolen"},
    "POST /teams": {"name": "stolen"},
    "PATCH /teams/{id}": {"name": "stolen"},
    "POST /members": {"name": "stolen", "email": "stolen@example.org"},
    "PATCH /members/{id}": {"name": "stolen"},
    "POST /invitations": {"email": "thief@example.org"},
    "PUT /budgets/{id}": {"max_spend": "1"},
    "POST /management-keys": {"name": "stolen"},
    "PUT /prices": {"model": "stolen", "input": "1"},
    "POST /webhooks": {"url": "https://example.org/stolen"},
    "PUT /operators": {"email": "thief@example.org"},
    "PATCH /me": {"name": "stolen"},
    "PATCH /org": {"rpm": 1},
}
TABLES = (
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
COLUMNS = sorted({column.name for table in metadata.tables.values() for column in table.columns})
ACTS_ON = {
    "keys": "key",
    "teams": "team",
    "members": "user",
    "invitations": "invitation",
    "budgets": "key",
    "management-keys": "management",
    "webhooks": "webhook",
    "operators": "user",
}


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def access(route: Route) -> str:
    return policy.ROUTES[f"{route.method} {policy.API}{route.path}"]


WITH_ID = [route for route in ROUTES if "{id}" in route.path]
WITH_BODY = [route for route in ROUTES if route.body is not None]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(tmp_path_factory.mktemp("tenancy"))


@pytest.fixture(scope="module")
def server(host: Host) -> Iterator[Server]:
    with host.serve() as running:
        yield running


@pytest.fixture(scope="module")
def owner(host: Host, server: Server) -> Api:
    return Api(server, management_key(host, name="boss"))


@pytest.fixture(scope="module")
def things(owner: Api) -> dict[str, str]:
    """One of each kind in the first org, by the id that the outside sees."""
    key = owner.ok("POST", "/keys", {"name": "mine", "budget": {"max_spend": "5"}})
    return {
        "key": key["id"],
        "team": owner.ok("POST", "/teams", {"name": "Mine"})["id"],
        "user": owner.ok("POST", "/members", {"name": "Mine", "email": "mine@example.org"})["id"],
        "org": owner.ok("GET", "/org")["id"],
        "invitation": owner.ok("POST", "/invitations", {"email": "soon@example.org"})["id"],
        "management": owner.ok("POST", "/management-keys", {"name": "Mine"})["id"],
        "webhook": owner.ok("POST", "/webhooks", {"url": "https://example.org/mine"})["id"],
    }


@pytest.fixture(scope="module")
def stranger(host: Host, server: Server) -> Api:
    """Sign in as the owner of the other org."""
    return Api(server, management_key(host, org=second_org(host), name="stranger"))


def rows(host: Host) -> dict[str, Any]:
    """All that one could have changed."""
    with sqlite3.connect(host.settings.data_dir / "nemorouter.db") as connection:
        connection.row_factory = sqlite3.Row
        return {
            table: [
                {column: value for column, value in dict(row).items() if column != "last_used_ms"}
                for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
            ]
            for table in TABLES
        }


def test_the_table_holds_exactly_the_calls() -> None:
    listed = {
        route.replace(f" {policy.API}", " ")
        for route in policy.ROUTES
        if f" {policy.API}/" in route
    }
    assert listed == {name(route) for route in ROUTES} | {"GET /openapi.json"}
    assert set(policy.ROUTES.values()) <= {
        *ACTIONS,
        *OPERATOR_ACTIONS,
        policy.PUBLIC,
        policy.SIGNED_IN,
        policy.SESSION,
    }
    assert set(BODIES) == {name(route) for route in WITH_BODY}


@pytest.mark.parametrize("route", WITH_ID, ids=name)
def test_another_org_s_ids_are_unknown(
    host: Host, stranger: Api, things: dict[str, str], route: Route
) -> None:
    before = rows(host)
    wrong = [
        ids.to_text(kind, 1 << 40) for kind in ("key", "team", "user", "org", "inv", "mk", "hook")
    ]
    for id in [
        *things.values(),
        *wrong,
        "mine",
        "Mine",
        "mine@example.org",
        "x" * 300,
        "%00",
        "..%2f..",
        "é",
    ]:
        path = route.path.replace("{id}", id.replace("é", "%C3%A9"))
        answer = stranger(route.method, path, BODIES.get(name(route)))
        hidden = (403, 404, 405) if access(route) in OPERATOR_ACTIONS else (404, 405)
        assert answer.status in hidden, (path, answer.body)
        assert things["key"] not in answer.body.decode().replace(id, "")
    assert rows(host) == before


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/keys", {"name": "x", "team_id": "{team}"}),
        ("POST", "/keys", {"name": "x", "team": "Mine"}),
        ("POST", "/keys", {"name": "x", "user_id": "{user}"}),
        ("GET", "/keys?team={team}", None),
        ("GET", "/logs?key={key}", None),
        ("GET", "/logs?team={team}", None),
        ("GET", "/usage?key={key}", None),
        ("GET", "/usage?team={team}", None),
    ],
    ids=str,
)
def test_another_org_s_ids_are_unknown_inside_too(
    host: Host, stranger: Api, things: dict[str, str], method: str, path: str, body: Any
) -> None:
    before = rows(host)
    given = {field: value.format(**things) for field, value in body.items()} if body else None
    assert stranger(method, path.format(**things), given).status == 404
    assert rows(host) == before


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "GET"], ids=name)
def test_nothing_of_another_org_is_listed(
    stranger: Api, things: dict[str, str], route: Route
) -> None:
    if "{id}" not in route.path:
        text = stranger("GET", route.path).body.decode()
        assert not [id for id in [*things.values(), "mine@example.org"] if id in text]


@pytest.mark.parametrize("route", WITH_BODY, ids=name)
def test_no_column_can_be_set_that_is_no_field(
    host: Host, owner: Api, things: dict[str, str], route: Route
) -> None:
    before = rows(host)
    fields = set(route.body.__struct_fields__)
    path = route.path.replace("{id}", things[ACTS_ON.get(route.path.split("/")[1], "key")])
    for column in COLUMNS:
        if column not in fields:
            answer = owner(route.method, path, {**BODIES[name(route)], column: 1})
            assert answer.status == 400, (column, answer.body)
    assert rows(host) == before


@pytest.mark.parametrize(
    "role", [Role.ADMIN, Role.MEMBER, Role.VIEWER], ids=lambda role: role.name.lower()
)
def test_every_role_may_what_the_table_says_and_no_more(
    host: Host, server: Server, things: dict[str, str], role: Role
) -> None:
    caller = Api(server, management_key(host, role))
    before = rows(host)
    refused = 0
    for route in ROUTES:
        action = access(route)
        if action in OPERATOR_ACTIONS or role not in ACTIONS.get(action, Role):
            path = route.path.replace("{id}", things[ACTS_ON.get(route.path.split("/")[1], "key")])
            answer = caller(route.method, path, BODIES.get(name(route)))
            assert (answer.status, answer.error["code"]) == (403, "not_allowed"), (
                name(route),
                answer.body,
            )
            refused += 1
        elif route.method == "GET" and "{id}" not in route.path:
            assert caller("GET", route.path).status == 200, name(route)
    assert refused
    assert rows(host) == before


def test_a_member_sees_and_touches_their_own_keys_only(
    host: Host, server: Server, things: dict[str, str]
) -> None:
    member = Api(server, management_key(host, Role.MEMBER))
    own = member.ok("POST", "/keys", {"name": "own"})
    assert [key["id"] for key in member.ok("GET", "/keys")["data"]] == [own["id"]]
    before = rows(host)
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"rpm": 1}),
        ("DELETE", "", None),
        ("POST", "/revoke", {}),
        ("POST", "/duplicate", {}),
    ):
        assert member(method, f"/keys/{things['key']}{path}", body).status == 404
    assert member("POST", "/keys", {"name": "x", "user_id": things["user"]}).status in (400, 404)
    assert rows(host) == before
    assert member.ok("DELETE", f"/keys/{own['id']}")["status"] == "revoked"
