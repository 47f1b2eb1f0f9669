"""One table: every route, and what it takes to enter. A route that is not in it does not exist.

An action is one of ``roles.ACTIONS`` or ``roles.OPERATOR_ACTIONS``: they say who may, and the
services ask it; pages ask it too, before they read anything. The routes' guard only finds out who
somebody is, so that no rule is written twice.
"""

import re
from typing import Final

PUBLIC: Final = "public"
"""Anybody; changes must come from our own pages."""

SIGNED_IN: Final = "signed in"
"""Anybody with a session or a management key, about themselves."""

SESSION: Final = "session"
"""Signed in by a browser; no management key."""

API: Final = "/api/v1"

MAX_BODY: Final = 1 << 20
"""Bytes that the body of a request of the management API may have."""

MAX_FORM: Final = 200_000
"""Bytes that a form may have: anybody may send one."""

_API: Final[dict[str, str]] = {
    "GET /openapi.json": PUBLIC,
    "GET /keys": "key.read",
    "POST /keys": "key.create",
    "GET /keys/{id}": "key.read",
    "PATCH /keys/{id}": "key.update",
    "DELETE /keys/{id}": "key.revoke",
    "POST /keys/{id}/revoke": "key.revoke",
    "POST /keys/{id}/duplicate": "key.create",
    "GET /teams": "team.read",
    "POST /teams": "team.create",
    "GET /teams/{id}": "team.read",
    "PATCH /teams/{id}": "team.update",
    "GET /members": "member.read",
    "POST /members": "member.add",
    "GET /members/{id}": "member.read",
    "PATCH /members/{id}": "member.update",
    "DELETE /members/{id}": "member.remove",
    "POST /members/{id}/reset": "member.update",
    "GET /members/{id}/keys-made": "member.remove",
    "GET /invitations": "invitation.read",
    "POST /invitations": "invitation.create",
    "DELETE /invitations/{id}": "invitation.revoke",
    "GET /budgets": "budget.read",
    "PUT /budgets/{id}": "budget.set",
    "DELETE /budgets/{id}": "budget.set",
    "GET /management-keys": "management_key.read",
    "POST /management-keys": "management_key.create",
    "DELETE /management-keys/{id}": "management_key.revoke",
    "GET /usage": "usage.read",
    "GET /logs": "log.read",
    "GET /audit": "audit.read",
    "GET /audit/verify": "audit.verify",
    "GET /prices": "price.read",
    "PUT /prices": "price.set",
    "DELETE /prices/{model}": "price.delete",
    "GET /alerts": "alert.read",
    "GET /webhooks": "webhook.read",
    "POST /webhooks": "webhook.create",
    "DELETE /webhooks/{id}": "webhook.delete",
    "GET /operators": "operator.read",
    "PUT /operators": "operator.set",
    "DELETE /operators/{id}": "operator.set",
    "GET /me": SIGNED_IN,
    "PATCH /me": SIGNED_IN,
    "GET /org": "org.read",
    "PATCH /org": "org.update",
    "DELETE /org": "org.delete",
}

_PAGES: Final[dict[str, str]] = {
    "GET /": PUBLIC,
    "GET /login": PUBLIC,
    "POST /login": PUBLIC,
    "POST /logout": SESSION,
    "GET /setup": PUBLIC,
    "POST /setup": PUBLIC,
    "GET /invitations/accept": PUBLIC,
    "POST /invitations/accept": PUBLIC,
    "GET /reset": PUBLIC,
    "POST /reset": PUBLIC,
    "GET /static/{name}": PUBLIC,
    "GET /favicon.ico": PUBLIC,
    "GET /{org}": "usage.read",
    "GET /{org}/keys": "key.read",
    "GET /{org}/keys/new": "key.create",
    "POST /{org}/keys/new": "key.create",
    "GET /{org}/keys/{id}": "key.read",
    "POST /{org}/keys/{id}": "key.update",
    "POST /{org}/keys/{id}/duplicate": "key.create",
    "GET /{org}/keys/{id}/delete": "key.revoke",
    "POST /{org}/keys/{id}/delete": "key.revoke",
    "GET /{org}/budgets": "budget.read",
    "POST /{org}/budgets": "budget.set",
    "GET /{org}/budgets/{id}/remove": "budget.set",
    "POST /{org}/budgets/{id}/remove": "budget.set",
    "GET /{org}/teams": "team.read",
    "POST /{org}/teams": "team.create",
    "GET /{org}/teams/{id}": "team.read",
    "POST /{org}/teams/{id}": "team.update",
    "GET /{org}/people/members": "member.read",
    "POST /{org}/people/invitations": "invitation.create",
    "POST /{org}/people/invitations/{id}/revoke": "invitation.revoke",
    "GET /{org}/people/members/{id}": "member.read",
    "POST /{org}/people/members/{id}": "member.update",
    "POST /{org}/people/members/{id}/reset": "member.update",
    "GET /{org}/people/members/{id}/remove": "member.remove",
    "POST /{org}/people/members/{id}/remove": "member.remove",
    "GET /{org}/hosts": "host.read",
    "GET /{org}/logs": "log.read",
    "GET /{org}/logs.csv": "log.read",
    "GET /{org}/audit": "audit.read",
    "GET /{org}/audit.csv": "audit.read",
    "GET /{org}/settings": "org.read",
    "POST /{org}/settings/org": "org.update",
    "POST /{org}/settings/password": SESSION,
    "POST /{org}/settings/sessions": SESSION,
    "POST /{org}/settings/management-keys": "management_key.create",
    "GET /{org}/settings/management-keys/{id}/revoke": "management_key.revoke",
    "POST /{org}/settings/management-keys/{id}/revoke": "management_key.revoke",
    "POST /{org}/settings/webhooks": "webhook.create",
    "GET /{org}/settings/webhooks/{id}/delete": "webhook.delete",
    "POST /{org}/settings/webhooks/{id}/delete": "webhook.delete",
    "GET /{org}/settings/operators": "operator.read",
    "POST /{org}/settings/operators": "operator.set",
    "GET /{org}/settings/operators/{id}/remove": "operator.set",
    "POST /{org}/settings/operators/{id}/remove": "operator.set",
    "GET /{org}/settings/prices": "price.read",
    "POST /{org}/settings/prices": "price.set",
    "GET /{org}/settings/prices/delete": "price.delete",
    "POST /{org}/settings/prices/delete": "price.delete",
}

ROUTES: Final[dict[str, str]] = {
    **{
        f"{route.partition(' ')[0]} {API}{route.partition(' ')[2]}": access
        for route, access in _API.items()
    },
    **_PAGES,
}
"""``METHOD /path/{parameter}``: what it takes."""


def access(method: str, template: str) -> str | None:
    """Return the action that a route needs; None if the route is not in the table."""
    return ROUTES.get(f"{method} {template}")


def allowed(path: str) -> list[str]:
    """List the methods of a path; none if the path does not exist."""
    found = []
    for route in ROUTES:
        method, _, template = route.partition(" ")
        pattern = re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path.rstrip("/") or "/"):
            found.append(method)
    return sorted(set(found))
