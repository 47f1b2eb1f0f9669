"""Every call of the management API that changes something is an event of the audit log."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from nemorouter.control.api import ROUTES
from nemorouter.roles import Actor
from nemorouter.services.transaction.context import Context
from nemorouter.store.schema import audit
from tests.support.api import Api, invited, management_key, second_org
from tests.support.servers import Host, Server

BUDGET = {"max_spend": "5", "duration": "monthly"}
CALLS: list[tuple[str, str, dict[str, Any] | None, list[str]]] = [
    ("POST", "/teams", {"name": "Team", "budget": BUDGET}, ["team.created"]),
    ("PATCH", "/teams/{id}", {"rpm": 5}, ["team.updated"]),
    ("PATCH", "/teams/{id}", {"budget": None}, ["team.updated"]),
    ("POST", "/keys", {"name": "key", "budget": BUDGET}, ["key.created"]),
    ("PATCH", "/keys/{id}", {"rpm": 5}, ["key.updated"]),
    ("PATCH", "/keys/{id}", {"budget": {**BUDGET, "max_spend": "6"}}, ["key.updated"]),
    ("PUT", "/budgets/{id}", BUDGET, ["budget.set"]),
    ("DELETE", "/budgets/{id}", None, ["budget.cleared"]),
    ("POST", "/keys/{id}/duplicate", {"name": "twin"}, ["key.created"]),
    ("POST", "/keys/{id}/revoke", {}, ["key.revoked"]),
    ("POST", "/keys", {"name": "other"}, ["key.created"]),
    ("DELETE", "/keys/{id}", None, ["key.revoked"]),
    (
        "POST",
        "/members",
        {"name": "P", "email": "p@example.org", "role": "admin"},
        ["member.added"],
    ),
    ("PATCH", "/members/{id}", {"role": "viewer"}, ["member.updated"]),
    ("PATCH", "/members/{id}", {"budget": BUDGET}, ["member.updated"]),
    ("POST", "/members/{id}/reset", None, ["password.reset_issued"]),
    ("DELETE", "/members/{id}", None, ["member.removed"]),
    ("POST", "/invitations", {"email": "q@example.org", "role": "member"}, ["member.invited"]),
    ("DELETE", "/invitations/{id}", None, ["invitation.revoked"]),
    ("POST", "/management-keys", {"name": "mk"}, ["management_key.created"]),
    ("DELETE", "/management-keys/{id}", None, ["management_key.revoked"]),
    ("PUT", "/operators", {"email": "operator@example.org"}, ["operator.added"]),
    ("DELETE", "/operators/{id}", None, ["operator.removed"]),
    ("PATCH", "/me", {"name": "Nemo"}, ["member.updated"]),
    ("PATCH", "/org", {"rpm": 1_000}, ["org.updated"]),
    ("PATCH", "/org", {"budget": BUDGET}, ["org.updated"]),
    ("PUT", "/prices", {"model": "m", "input": "1", "output": "1"}, ["price.set"]),
    ("DELETE", "/prices/{model}", None, ["price.deleted"]),
    ("POST", "/webhooks", {"url": "https://example.org/hook"}, ["webhook.created"]),
    ("DELETE", "/webhooks/{id}", None, ["webhook.deleted"]),
]
"""Method, path, body, and the events of each; an id is that of the object made or shown last."""


@pytest.fixture
def host(tmp_path: Any) -> Host:
    return Host(tmp_path)


@pytest.fixture
def server(host: Host) -> Iterator[Server]:
    with host.serve() as running:
        yield running


def test_every_change_is_an_event(host: Host, server: Server) -> None:
    invited(host, "operator@example.org")
    api = Api(server, management_key(host))
    made: dict[str, Any] = {"model": "m"}
    newest = api.ok("GET", "/audit?limit=1")["data"][0]["seq"]
    for method, path, body, events in CALLS:
        answer = api.ok(method, path.format(**made), body)
        made |= {"id": answer["id"]} if isinstance(answer, dict) and "id" in answer else {}
        page = api.ok("GET", "/audit?limit=10")["data"]
        new = [event for event in reversed(page) if event["seq"] > newest]
        assert [event["action"] for event in new] == events, (method, path, body)
        assert all(event["before"] != event["after"] for event in new if body), (path, body)
        newest = page[0]["seq"]


def test_the_end_of_an_org_is_an_event(host: Host, server: Server) -> None:
    api = Api(server, management_key(host, org=second_org(host)))
    api.ok("DELETE", "/org")

    async def newest(context: Context, _: Actor) -> str:
        async with context.store.read() as connection:
            found = await connection.execute(select(audit.c.action).order_by(audit.c.seq.desc()))
            return str(found.scalars().first())

    assert host.change(newest) == "org.deleted"


def test_no_route_that_changes_something_is_left_out() -> None:
    changing = {(route.method, route.path) for route in ROUTES if route.method != "GET"}
    assert changing == {(method, path) for method, path, *_ in CALLS} | {("DELETE", "/org")}
