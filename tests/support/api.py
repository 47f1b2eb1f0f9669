"""Provide orgs with users of every role, and a client of the management API."""

import asyncio
from dataclasses import dataclass
from typing import Any

from nemorouter import ids
from nemorouter.roles import Actor, Role
from nemorouter.services.access import invitations, management
from nemorouter.services.operations import bootstrap
from nemorouter.services.scopes.users import NewMember, add_member
from nemorouter.services.transaction.context import Context
from tests.support.servers import Answer, Host, Server

API = "/api/v1"
PASSWORD = "correct horse battery"


@dataclass
class Api:
    """A caller: a server and a credential."""

    server: Server
    key: str | None = None

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        extra = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return self.server.call(f"{API}{path}", body, self.key, method=method, headers=extra)

    def ok(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Return the JSON of a call that must succeed."""
        answer = self(method, path, body, **headers)
        assert 200 <= answer.status < 300, (answer.status, answer.body)
        return answer.json if answer.body else None


def management_key(
    host: Host, role: Role = Role.OWNER, org: int | None = None, name: str = ""
) -> str:
    """Make a management key of a fresh user with this role, in the first org or in ``org``."""

    async def work(context: Context, local: Actor) -> str:
        actor = Actor(org=org or local.org, role=Role.OWNER, name="test")
        email = f"{name or role.name.lower()}-{ids.new_id()}@example.org"
        person = await add_member(
            context, actor, NewMember(name=email, email=email, role=role.name.lower())
        )
        new = management.NewManagementKey(name="test")
        user = Actor(
            org=actor.org,
            role=Role.OWNER,
            name="test",
            user=ids.from_text("user", person.id),
            operator=role is Role.OWNER and actor.org == local.org,
        )
        return (await management.create(context, user, new)).key

    key: str = host.change(work)
    return key


def second_org(host: Host, name: str = "Other") -> int:
    """Another org in the same installation, without people."""
    found: int = host.change(lambda context, _: bootstrap.add_org(context, name))
    return found


def invited(host: Host, email: str, role: str = "owner", password: str = PASSWORD) -> None:
    """Invite a user and accept the invitation, so that the user may sign in."""

    async def work(context: Context, actor: Actor) -> None:
        new = invitations.NewInvitation(email=email, role=role)
        token = (await invitations.create(context, actor, new)).token
        await invitations.accept(context, token, "Nemo", password, "127.0.0.1")

    host.change(work)


def setup_token(host: Host) -> str | None:
    """Return the setup token that ``serve`` prints on a first run."""
    from nemorouter.services.access import setup

    async def work() -> str | None:
        context = await Context.open(host.settings)
        try:
            return await setup.issue(context)
        finally:
            await context.close()

    return asyncio.run(work())


def form(
    server: Server, path: str, fields: dict[str, str], cookie: str = "", **headers: str
) -> Answer:
    """Send a form as a browser does from a page of ours."""
    from urllib.parse import urlencode

    extra = {
        "content-type": "application/x-www-form-urlencoded",
        "accept": "text/html",
        "origin": f"http://127.0.0.1:{server.port}",
        "host": f"127.0.0.1:{server.port}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    if cookie:
        extra["cookie"] = cookie
    host = extra.pop("host")
    body = urlencode(fields).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        f"host: {host}",
        "connection: close",
        f"content-length: {len(body)}",
    ]
    lines += [f"{name}: {value}" for name, value in extra.items()]
    return server.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def get(server: Server, path: str, cookie: str = "") -> Answer:
    """Get a page as a browser does."""
    headers = [
        f"GET {path} HTTP/1.1",
        f"host: 127.0.0.1:{server.port}",
        "accept: text/html",
        "connection: close",
    ]
    if cookie:
        headers.append(f"cookie: {cookie}")
    return server.send("\r\n".join(headers).encode() + b"\r\n\r\n")
