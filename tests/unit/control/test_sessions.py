"""Sessions: what begins one and what ends it, how its cookie looks, and which proxy is believed."""

from typing import Any

import pytest
from sqlalchemy import select, update

from nemorouter import ids
from nemorouter.control import auth
from nemorouter.control.app import create_control
from nemorouter.roles import Role
from nemorouter.services.access import people, reset, sessions, signin, tokens
from nemorouter.services.access.people import MemberPatch
from nemorouter.services.operations import orgs
from nemorouter.services.transaction.clock import now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.store import schema
from tests.support.installation import fields
from tests.unit.control.conftest import Person, Plane, person

PASSWORD = "correct horse battery"


async def is_in(context: Context, who: Person) -> bool:
    return await sessions.find(context, who.cookie, "") is not None


async def moved(context: Context, **columns: int) -> None:
    """Let time pass for every session."""
    async with context.store.begin() as connection:
        await connection.execute(update(schema.sessions).values(**columns))


async def _password(context: Context, who: Person) -> None:
    token = (await reset.issue(context, who.actor, ids.to_text("user", who.actor.user))).token
    await reset.complete(context, token, PASSWORD, "")


async def test_a_session_ends_when_it_is_idle_and_when_it_is_old(
    context: Context, ada: Person
) -> None:
    await moved(context, seen_ms=now_ms() - sessions.IDLE_MS + 60_000)
    assert await is_in(context, ada)  # and that was noted
    await moved(context, expires_ms=now_ms() - 1)
    assert not await is_in(context, ada)
    await moved(context, expires_ms=now_ms() + 60_000, seen_ms=now_ms() - sessions.IDLE_MS - 1)
    assert not await is_in(context, ada)


async def test_only_the_token_itself_is_a_session(context: Context, ada: Person) -> None:
    async with context.store.read() as connection:
        (digest,) = (await connection.execute(select(schema.sessions.c.digest))).one()
    assert digest == tokens.digest("session", ada.cookie, context.peppers[0])
    for wrong in (
        digest.hex(),
        ada.cookie[:-1],
        ada.cookie + "A",
        ada.cookie.swapcase(),
        "",
        "x" * 500,
        "é",
    ):
        assert await sessions.find(context, wrong, "") is None
    with_pepper = tokens.digests("invitation", ada.cookie, context.peppers)
    assert digest not in with_pepper  # a token of one purpose is none of another


async def test_it_ends_at_once_with_its_person(context: Context, ada: Person) -> None:
    async def member() -> tuple[Person, str]:
        made = await person(context, Role.MEMBER, ada.actor.org)
        assert await is_in(context, made)
        return made, ids.to_text("user", made.actor.user)

    who, id = await member()
    await people.patch_member(context, ada.actor, id, MemberPatch(role="viewer"))
    assert not await is_in(context, who)
    who, id = await member()
    await people.patch_member(context, ada.actor, id, MemberPatch(status="disabled"))
    assert not await is_in(context, who)
    who, id = await member()
    await people.remove_member(context, ada.actor, id)
    assert not await is_in(context, who)
    who, id = await member()
    await people.patch_member(
        context, ada.actor, id, MemberPatch(**fields(rpm=5))
    )  # nothing about who they are
    assert await is_in(context, who)


async def test_it_ends_with_its_org(context: Context, eve: Person) -> None:
    await orgs.delete_org(context, eve.actor)
    assert not await is_in(context, eve)


async def test_a_new_password_ends_all_but_the_session_that_set_it(
    context: Context, ada: Person
) -> None:
    await _password(context, ada)
    first, second = [
        await signin.sign_in(context, ada.actor.name, PASSWORD, "127.0.0.1") for _ in range(2)
    ]
    assert first != second
    signed = await sessions.find(context, second, "")
    assert signed is not None
    await signin.change_password(context, signed, PASSWORD, PASSWORD + "!")
    assert await sessions.find(context, first, "") is None
    assert await sessions.find(context, second, "") is not None
    await signin.sign_out(context, signed)
    assert await sessions.find(context, second, "") is None  # and nobody can use the cookie again


async def test_signing_in_takes_no_session_from_the_caller(
    context: Context, plane: Plane, ada: Person
) -> None:
    await _password(context, ada)
    fixed = tokens.new_token()
    fields = {"email": ada.actor.name, "password": PASSWORD}
    answer = await plane("POST", "/login", ada._replace(cookie=fixed), fields)
    assert answer.status == 303
    given = answer.headers["set-cookie"]
    assert fixed not in given
    assert await sessions.find(context, fixed, "") is None


async def test_the_cookie_of_https_is_for_this_host_alone(
    context: Context, plane: Plane, ada: Person
) -> None:
    await _password(context, ada)
    fields = {"email": ada.actor.name, "password": PASSWORD}
    plain = (await plane("POST", "/login", fields=fields)).headers["set-cookie"]
    secure = (await plane("POST", "/login", fields=fields, scheme="https")).headers["set-cookie"]
    assert plain.startswith("nemo_session=")
    assert secure.startswith("__Host-nemo=")
    for cookie in (plain, secure):
        assert {"HttpOnly", "Path=/", "SameSite=lax", "Max-Age=604800"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
    assert "Secure" in secure.split("; ")
    token = secure.partition("=")[2].partition(";")[0]
    assert (await plane("GET", "/", ada._replace(cookie=token), scheme="https")).headers[
        "location"
    ] != "/login"
    crossed = {
        "cookie": f"nemo_session={token}"
    }  # a cookie that any page of the host's domain may have set
    assert (await plane("GET", "/", headers=crossed, scheme="https")).headers[
        "location"
    ] == "/login"


async def test_a_password_does_not_cross_a_network_in_the_clear(
    context: Context, plane: Plane, ada: Person
) -> None:
    await _password(context, ada)
    fields = {"email": ada.actor.name, "password": PASSWORD}
    answer = await plane(
        "POST", "/login", fields=fields, headers={"host": "nemo.example:8000"}, client="10.1.1.1"
    )
    assert answer.status == 400
    assert "needs HTTPS" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("client", "headers", "expected", "secure"),
    [
        (
            "203.0.113.9",
            {"x-forwarded-for": "198.51.100.1", "x-forwarded-proto": "https"},
            "203.0.113.9",
            False,
        ),
        (
            "10.0.0.2",
            {"x-forwarded-for": "198.51.100.1", "x-forwarded-proto": "https"},
            "198.51.100.1",
            True,
        ),
        ("10.0.0.2", {"x-forwarded-for": "1.2.3.4, 198.51.100.1, 10.0.0.3"}, "198.51.100.1", False),
        ("10.0.0.2", {"x-forwarded-for": "not an address"}, "", False),
        ("10.0.0.2", {}, "10.0.0.2", False),
    ],
)
async def test_only_a_trusted_proxy_says_where_somebody_is(
    context: Context, ada: Person, client: str, headers: dict[str, str], expected: str, secure: bool
) -> None:
    settings = type(context.settings)(
        data_dir=context.settings.data_dir, trusted_proxies=("10.0.0.0/8",)
    )
    trusting = context._replace(settings=settings)
    await _password(trusting, ada)
    fields = {"email": ada.actor.name, "password": PASSWORD}
    answer = await Plane(create_control(trusting, settings))(
        "POST", "/login", None, fields, headers, client=client
    )
    assert answer.status == 303
    assert ("Secure" in answer.headers["set-cookie"]) is secure
    async with context.store.read() as connection:
        query = select(schema.sessions.c.source_ip).order_by(schema.sessions.c.id.desc()).limit(1)
        assert (await connection.execute(query)).scalar() == expected


@pytest.mark.parametrize(
    "given", [["Bearer x", "Bearer y"], ["Basic eDp5"], ["Bearer sk-nemo-xxxxxxxxxxxxxxxxxxxx"]]
)
async def test_two_credentials_or_another_kind_are_none(
    context: Context, ada: Person, given: list[str]
) -> None:
    app: Any = create_control(context, context.settings)
    got: list[Any] = []
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
    }
    scope |= {
        "scheme": "http",
        "path": "/api/v1/me",
        "raw_path": b"/api/v1/me",
        "query_string": b"",
        "root_path": "",
    }
    headers = [(b"host", b"localhost"), (b"cookie", f"{auth.LOCAL_COOKIE}={ada.cookie}".encode())]
    scope |= {"client": ("127.0.0.1", 1), "server": None, "state": {}, "extensions": {}}
    scope["headers"] = headers + [(b"authorization", one.encode()) for one in given]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        got.append(message)

    await app(scope, receive, send)
    assert got[0]["status"] == 401
