"""Test set-up, sign-in and sessions on a real server: what lets a person in, and what does not."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import pytest

from nemorouter.services.access import throttle
from tests.support.api import PASSWORD, form, get, invited
from tests.support.servers import Answer, Host, Server, chat
from tests.support.sql import sql

WRONG = "The e-mail address or the password is wrong."


def cookie(answer: Answer) -> str:
    """Return the session that an answer gives, as a browser sends it back."""
    given = answer.header("set-cookie") or ""
    assert "HttpOnly" in given, answer.body
    assert "samesite=lax" in given.lower()
    return given.partition(";")[0]


def sign_in(server: Server, email: str, password: str = PASSWORD) -> Answer:
    return form(server, "/login", {"email": email, "password": password})


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    made = Host(tmp_path_factory.mktemp("signin"))
    for name in ("nemo", "dory", "marlin", "gill"):
        invited(made, f"{name}@example.org")
    return made


@pytest.fixture(scope="module")
def server(host: Host) -> Iterator[Server]:
    with host.serve() as running:
        yield running


@pytest.fixture(autouse=True)
def fresh_throttles(host: Host) -> None:
    """Each test starts with no failures behind it."""

    async def forget(context: object, _: object) -> None:
        async with context.store.begin() as connection:  # type: ignore[attr-defined]
            await sql(connection, "DELETE FROM throttles")

    host.change(forget)


def test_the_printed_link_makes_one_owner(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.serve() as server:
        found = re.search(r"/setup\?token=(\S+)", server.log.read_text())
        assert found
        assert get(server, f"/setup?token={found[1]}").status == 200
        fields = {"org": "Reef", "name": "Nemo", "password": PASSWORD, "again": PASSWORD}
        wrong = form(server, "/setup", {**fields, "token": "x" * 43, "email": "w@example.org"})
        assert (wrong.status, wrong.header("set-cookie")) == (400, None)

        def complete(email: str) -> Answer:
            return form(server, "/setup", {**fields, "token": found[1], "email": email})

        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(complete, ("a@example.org", "b@example.org")))
        assert sorted(answer.status for answer in answers) == [303, 400]
        winner = "ab"[[answer.status for answer in answers].index(303)]
        assert sign_in(server, f"{winner}@example.org").status == 303
        assert complete("c@example.org").status == 400
    with host.serve() as again:
        assert "/setup?token=" not in again.log.read_text()


def test_a_session_lives_until_it_is_ended(server: Server) -> None:
    session = cookie(sign_in(server, "nemo@example.org"))
    assert session.startswith("nemo_session=")
    home = get(server, "/", session).header("location") or ""
    page = get(server, home, session)
    assert page.status == 200
    token = re.search(r'name="csrf_token" value="([0-9a-f]+)"', page.body.decode())
    assert token
    assert form(server, "/logout", {}, session).status == 403
    assert form(server, "/logout", {"csrf_token": "0" * 40}, session).status == 403
    assert (
        form(
            server, "/logout", {"csrf_token": token[1]}, session, origin="http://evil.example"
        ).status
        == 403
    )
    assert (
        form(
            server, "/logout", {"csrf_token": token[1]}, session, sec_fetch_site="same-site"
        ).status
        == 403
    )
    assert get(server, home, session).status == 200
    assert form(server, "/logout", {"csrf_token": token[1]}, session).status == 303
    assert get(server, home, session).header("location") == "/login"


def test_the_store_keeps_no_session(host: Host, server: Server) -> None:
    value = cookie(sign_in(server, "nemo@example.org")).partition("=")[2].encode()
    files = [path for path in host.settings.data_dir.rglob("*") if path.is_file()]
    assert not [path for path in files if value in path.read_bytes()]


def test_a_cookie_changes_nothing_in_the_api_without_its_token(server: Server) -> None:
    session = cookie(sign_in(server, "nemo@example.org"))
    assert server.call("/api/v1/me", headers=(("cookie", session),)).status == 200
    answer = server.call("/api/v1/keys", {"name": "forged"}, headers=(("cookie", session),))
    assert (answer.status, answer.error["code"]) == (403, "csrf_failed")


@pytest.mark.parametrize("email", ["dory@example.org", "nobody@example.org"])
def test_guesses_are_slowed_down_alike_for_known_and_unknown(server: Server, email: str) -> None:
    answers = [sign_in(server, email, "wrong password") for _ in range(throttle.FREE_ACCOUNT)]
    assert {answer.status for answer in answers} == {400}
    assert all(WRONG in answer.body.decode() for answer in answers)
    later = sign_in(server, email)
    assert later.status == 429
    assert int(later.header("retry-after") or 0) >= 1


def test_a_crowd_of_guesses_is_counted(server: Server) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(
            pool.map(lambda _: sign_in(server, "marlin@example.org", "guess"), range(12))
        )
    assert sum(answer.status == 400 for answer in answers) <= throttle.FREE_ACCOUNT


def test_known_and_unknown_take_as_long(host: Host, server: Server) -> None:
    def seconds(email: str) -> float:
        began = time.perf_counter()
        assert sign_in(server, email, "wrong password").status == 400
        return time.perf_counter() - began

    pairs = [
        (seconds("gill@example.org"), seconds(f"no{n}@example.org"))
        for n in range(throttle.FREE_ACCOUNT - 1)
    ]
    known, unknown = (median(times) for times in zip(*pairs, strict=True))
    assert 0.5 < known / unknown < 2  # without the dummy hash: more than ten


def test_model_calls_go_on_while_many_sign_in(host: Host, server: Server) -> None:
    key = host.key()
    with ThreadPoolExecutor(40) as pool:
        crowd = [pool.submit(sign_in, server, f"crowd{n}@example.org", "x" * 20) for n in range(80)]
        calls = [server.call(body=chat(), key=key).status for _ in range(20)]
    assert calls == [200] * 20
    assert {one.result().status for one in crowd} <= {400, 429, 503}
