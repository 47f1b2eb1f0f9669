"""Make the control plane as an app in this process, with a signed-in owner and a second org."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import pytest

from nemorouter import ids
from nemorouter.control.app import create_control
from nemorouter.roles import Actor, Role
from nemorouter.services.access import sessions
from nemorouter.services.operations import bootstrap
from nemorouter.services.scopes.users import NewMember, add_member
from nemorouter.services.transaction.context import Context
from nemorouter.types import RATES
from tests.support.installation import (  # noqa: F401 - fixtures
    context,
    file_settings,
    owner,
    template,
)

HOST = "localhost:8000"

BLANK: Mapping[str, str] = {
    **{rate.name: "" for rate in RATES},
    "max_spend": "",
    "duration": "monthly",
    "allowed_models": "",
    "allowed_endpoints": "",
    "allowed_ips": "",
    "expires_at": "",
}
"""The fields of a key's form that restrict, as a browser sends them when nothing is typed."""


class Answer(NamedTuple):
    """An answer; names of headers are lower case."""

    status: int
    headers: Mapping[str, str]
    text: str


class Person(NamedTuple):
    """Somebody with a session."""

    actor: Actor
    cookie: str
    csrf: str
    org: str  # the path of the org's pages


class Plane:
    """Asks the app, as Granian would."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(
        self,
        method: str,
        path: str,
        who: Person | None = None,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        scheme: str = "http",
        client: str = "127.0.0.1",
    ) -> Answer:
        """One request of a browser; ``fields`` are a form."""
        given = {"host": HOST, "accept": "text/html"}
        if who is not None:
            given["cookie"] = (
                f"{'nemo_session' if scheme == 'http' else '__Host-nemo'}={who.cookie}"
            )
        if method == "POST":
            given["content-type"] = "application/x-www-form-urlencoded"
        given |= headers or {}
        where, _, query = path.partition("?")
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
        }
        scope |= {
            "scheme": scheme,
            "path": where,
            "raw_path": quote(where).encode(),
            "query_string": query.encode(),
        }
        scope |= {
            "root_path": "",
            "client": (client, 1),
            "server": None,
            "state": {},
            "extensions": {},
        }
        scope["headers"] = [
            (name.encode(), value.encode("latin-1")) for name, value in given.items()
        ]
        got: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {
                "type": "http.request",
                "body": urlencode(fields or {}).encode(),
                "more_body": False,
            }

        async def send(message: Any) -> None:
            got.append(message)

        await self._app(scope, receive, send)
        found = {
            name.decode().lower(): value.decode("latin-1") for name, value in got[0]["headers"]
        }
        body = b"".join(message.get("body", b"") for message in got[1:])
        return Answer(got[0]["status"], found, body.decode())


@pytest.fixture
def plane(context: Context) -> Plane:  # noqa: F811 - the fixture
    return Plane(create_control(context, context.settings))


async def person(context: Context, role: Role, org: int, email: str = "") -> Person:  # noqa: F811
    """Make a user of this role, who has signed in."""
    local = Actor(org=org, role=Role.OWNER, name="test", operator=True)
    email = email or f"{role.name.lower()}{ids.new_id()}@example.org"
    made = await add_member(
        context, local, NewMember(name=email, email=email, role=role.name.lower())
    )
    user = ids.from_text("user", made.id)
    async with context.store.begin() as connection:
        cookie = await sessions.begin(connection, context, user, org, "127.0.0.1")
    signed = await sessions.find(context, cookie, "127.0.0.1")
    assert signed is not None
    return Person(
        signed.actor, cookie, sessions.csrf_token(context, cookie), "/" + ids.to_text("org", org)
    )


@pytest.fixture
async def ada(context: Context, owner: Actor) -> Person:  # noqa: F811
    """Make an owner of the first org."""
    return await person(context, Role.OWNER, owner.org)


@pytest.fixture
async def eve(context: Context) -> Person:  # noqa: F811
    """Make the owner of another org."""
    return await person(context, Role.OWNER, await bootstrap.add_org(context, "Other"))
