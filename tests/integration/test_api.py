"""The management API on a real server: what it answers, and what it refuses."""

from collections.abc import Iterator
from typing import Any

import pytest

from nemorouter.roles import Role
from nemorouter.types import RATES
from tests.support.api import Api, management_key
from tests.support.servers import Host, Server, chat, until

KEY_FIELDS = [
    *("id", "name", "alias", "team_id", "user_id", "status"),
    *(rate.name for rate in RATES),
    *("budget", "spend"),
    *("allowed_models", "allowed_endpoints", "allowed_ips"),
    *("expires_at", "created_at", "last_used_at", "revoked_at"),
]


@pytest.fixture(scope="module", params=["rsgi", "asgi", "postgresql"])
def face(request: pytest.FixtureRequest) -> str:
    """Each kind of server, and ours with a store in PostgreSQL."""
    face: str = request.param
    return face


@pytest.fixture(scope="module")
def host(
    face: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Host:
    options = {}
    if face == "postgresql":
        options["database_url"] = request.getfixturevalue("postgres").database()
    return Host(tmp_path_factory.mktemp("api"), options)


@pytest.fixture(scope="module")
def server(face: str, host: Host) -> Iterator[Server]:
    with host.serve("asgi" if face == "asgi" else "rsgi") as running:
        yield running


@pytest.fixture
def api(host: Host, server: Server) -> Api:
    return Api(server, management_key(host))


def test_the_life_of_a_key(api: Api, server: Server) -> None:
    budget = {"max_spend": "50", "duration": "monthly"}
    answer = api("POST", "/keys", {"name": "life", "rpm": 600, "budget": budget})
    assert answer.status == 201
    assert answer.header("cache-control") == "no-store"
    made = answer.json
    assert list(made) == [*KEY_FIELDS, "key"]
    assert made["key"].startswith("sk-nemo-")
    assert made["alias"] == f"sk-...{made['key'][-4:]}"
    assert made["budget"] | {"resets_at": None} == {
        **budget,
        "max_spend": "50.00",
        "spent": "0.00",
        "resets_at": None,
    }
    assert server.call(body=chat(), key=made["key"]).status == 200
    shown = until(lambda: (found := api.ok("GET", f"/keys/{made['id']}"))["last_used_at"] and found)
    assert list(shown) == KEY_FIELDS
    assert (
        api.ok("PATCH", f"/keys/{made['id']}", {"rpm": None, "name": "renamed"})["name"]
        == "renamed"
    )
    copy = api.ok("POST", f"/keys/{made['id']}/duplicate", {})
    assert (copy["name"], copy["budget"]["max_spend"]) == ("renamed (copy)", "50.00")
    assert api.ok("DELETE", f"/keys/{made['id']}")["status"] == "revoked"
    assert server.call(body=chat(), key=made["key"]).status == 401
    assert server.call(body=chat(), key=copy["key"]).status == 200
    assert api.ok("POST", f"/keys/{copy['id']}/revoke")["status"] == "revoked"
    assert server.call(body=chat(), key=copy["key"]).status == 401
    assert api("PATCH", f"/keys/{made['id']}", {"name": "x"}).error["code"] == "conflict"


def test_keys_are_listed_in_pages(api: Api) -> None:
    team = api.ok("POST", "/teams", {"name": f"pages {api.key}"})
    made = [
        api.ok("POST", "/keys", {"name": f"p{n}", "team_id": team["id"]})["id"] for n in range(5)
    ]
    seen: list[str] = []
    path = f"/keys?team={team['id']}&limit=2"
    page = api.ok("GET", path)
    while True:
        seen += [key["id"] for key in page["data"]]
        if page["next_cursor"] is None:
            break
        page = api.ok("GET", f"{path}&cursor={page['next_cursor']}")
    assert seen == made[::-1]
    assert [key["name"] for key in api.ok("GET", f"/keys?team={team['id']}&q=p3")["data"]] == ["p3"]
    assert api.ok("GET", f"/keys?team={team['id']}&status=revoked")["data"] == []


def test_an_idempotency_key_makes_one(api: Api) -> None:
    body = {"name": "once"}
    first = api("POST", "/keys", body, idempotency_key="a1")
    again = api("POST", "/keys", body, idempotency_key="a1")
    assert (first.status, again.status) == (201, 201)
    assert again.json == first.json | {"key": None}
    assert again.header("idempotent-replayed") == "true"
    assert api("POST", "/keys", {"name": "other"}, idempotency_key="a1").status == 409
    assert api("POST", "/keys", {"name": ""}, idempotency_key="a2").status == 400
    assert api("POST", "/keys", body, idempotency_key="a2").status == 201, (
        "a refusal uses no key up"
    )


def test_the_store_never_holds_a_key_that_a_replay_could_tell(host: Host, api: Api) -> None:
    made = api.ok("POST", "/keys", {"name": "secret"}, idempotency_key="s1")
    mk = api.ok("POST", "/management-keys", {"name": "secret"}, idempotency_key="s2")
    files = [path for path in host.settings.data_dir.rglob("*") if path.is_file()]
    for secret in (made["key"], mk["key"]):
        assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_management_keys_manage_and_do_nothing_else(api: Api, server: Server) -> None:
    made = api.ok("POST", "/management-keys", {"name": "robot"})
    robot = Api(server, made["key"])
    assert robot.ok("GET", "/me")["role"] == "owner"
    assert server.call(body=chat(), key=made["key"]).status == 401
    key = api.ok("POST", "/keys", {"name": "model"})["key"]
    refused = Api(server, key)("GET", "/keys")
    assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")
    assert "invalid_token" in (refused.header("www-authenticate") or "")
    assert api.ok("DELETE", f"/management-keys/{made['id']}")["status"] == "revoked"
    assert robot("GET", "/me").status == 401


def test_nobody_comes_in_without_a_credential(server: Server) -> None:
    answer = Api(server)("GET", "/keys")
    assert (answer.status, answer.error["code"]) == (401, "missing_api_key")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/keys", b"{", 400, "invalid_request"),
        ("POST", "/keys", b'{"name": "x", "spend": "0"}', 400, "invalid_request"),
        ("POST", "/keys", {"name": "x" * 201}, 400, "invalid_request"),
        ("POST", "/keys", {"name": "a\nb"}, 400, "invalid_request"),
        ("POST", "/keys", {"name": "x", "rpm": -1}, 400, "invalid_request"),
        ("POST", "/keys", {"name": "x", "rpm": 1 << 70}, 400, "invalid_request"),
        (
            "POST",
            "/keys",
            {"name": "x", "budget": {"max_spend": "10000001"}},
            400,
            "invalid_request",
        ),
        ("POST", "/keys", {"name": "x", "team": "nowhere"}, 404, "not_found"),
        ("POST", "/keys", {"name": "x", "team": ""}, 404, "not_found"),
        ("POST", "/keys", {"name": "x", "user": ""}, 404, "not_found"),
        ("POST", "/keys", {"name": "x", "allowed_ips": [""]}, 400, "invalid_request"),
        ("POST", "/keys", {"name": "x", "allowed_models": [""]}, 400, "invalid_request"),
        ("POST", "/keys", {"name": "x", "allowed_endpoints": [""]}, 400, "invalid_request"),
        ("POST", "/keys", {"name": "x", "allowed_ips": ""}, 400, "invalid_request"),
        ("POST", "/keys", {"name": "x", "expires_at": ""}, 400, "invalid_request"),
        ("POST", "/keys", {"name": "x", "rpm": ""}, 400, "invalid_request"),
        ("POST", "/keys", {"name": "x", "budget": {"max_spend": ""}}, 400, "invalid_request"),
        ("POST", "/keys", {"name": "x", "budget": {"max_spend": "2,5"}}, 400, "invalid_request"),
        ("POST", "/keys", {"name": "a\u202eb"}, 400, "invalid_request"),
        ("POST", "/keys", b"[" * 100_000, 400, "invalid_request"),
        ("GET", "/keys?limit=0", None, 400, "invalid_request"),
        ("GET", "/keys?limit=1&limit=2", None, 400, "invalid_request"),
        ("GET", "/keys?colour=red", None, 400, "invalid_request"),
        ("GET", "/keys?cursor=nonsense", None, 400, "invalid_request"),
        ("GET", "/usage?interval=year", None, 400, "invalid_request"),
        ("GET", "/keys/key_0000000000000", None, 404, "not_found"),
        ("GET", "/nothing", None, 404, "unknown_url"),
        ("PUT", "/keys", {}, 405, "method_not_allowed"),
        ("POST", "/teams", {"name": "Default"}, 409, "conflict"),
    ],
    ids=str,
)
def test_what_is_refused(
    api: Api, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = api(method, path, body)
    assert (answer.status, answer.error["code"]) == (status, code), answer.body


def test_a_body_must_call_itself_json(api: Api) -> None:
    answer = api("POST", "/keys", b'{"name":"x"}', content_type="text/plain")
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")


def test_a_large_body_is_refused(api: Api) -> None:
    answer = api("POST", "/keys", b" " * ((1 << 20) + 1))
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")


def test_every_answer_is_safe_to_show(api: Api) -> None:
    for path in ("/me", "/nothing", "/openapi.json"):
        answer = api("GET", path)
        assert "default-src 'none'" in (answer.header("content-security-policy") or "")
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("cache-control") == "no-store"


def test_budgets_are_set_and_cleared(api: Api) -> None:
    team = api.ok("POST", "/teams", {"name": f"budget {api.key}"})
    found = api.ok("PUT", f"/budgets/{team['id']}", {"max_spend": "0.25", "duration": "daily"})
    assert (found["kind"], found["budget"]["max_spend"]) == ("team", "0.25")
    assert team["id"] in [one["id"] for one in api.ok("GET", "/budgets")["data"]]
    assert api("DELETE", f"/budgets/{team['id']}").status == 204
    assert api("DELETE", f"/budgets/{team['id']}").status == 404


def test_usage_logs_and_their_csv(host: Host, api: Api, server: Server) -> None:
    made = api.ok("POST", "/keys", {"name": '=cmd|"/c calc"!A0'})
    assert server.call(body=chat(), key=made["key"]).status == 200
    until(lambda: api.ok("GET", f"/logs?key={made['id']}")["data"])
    row = api.ok("GET", f"/logs?key={made['id']}")["data"][0]
    assert (row["key_name"], row["alias"], row["outcome"]) == (made["name"], made["alias"], "ok")
    for interval in ("day", "hour"):
        series = api.ok("GET", f"/usage?interval={interval}&key={made['id']}&group_by=model")[
            "data"
        ]
        assert [(one["group"], one["requests"], one["cost"]) for one in series] == [
            ("echo", 1, row["cost"])
        ]
    answer = api("GET", f"/logs?key={made['id']}", accept="text/csv")
    assert (answer.header("content-type") or "").startswith("text/csv")
    head, line, rest = answer.body.decode().split("\r\n")
    assert (head.split(",")[:3], rest) == (["request_id", "at", "key_id"], "")
    assert ",\"'=cmd|" in line


def test_the_audit_log_tells_who_did_what(api: Api) -> None:
    made = api.ok("POST", "/keys", {"name": "audited"})
    api.ok("PATCH", f"/keys/{made['id']}", {"rpm": 5})
    events = api.ok("GET", f"/audit?resource={made['id']}")["data"]
    assert [event["action"] for event in events] == ["key.updated", "key.created"]
    assert (events[0]["before"]["rpm"], events[0]["after"]["rpm"]) == (None, 5)
    assert events[0]["source_ip"] == "127.0.0.1"
    assert events[0]["actor"].startswith("mk_")
    assert made["key"] not in str(events)
    assert api.ok("GET", "/audit/verify")["broken_at"] is None
    assert api("GET", "/audit?limit=1", accept="text/csv").body.decode().startswith("seq,at,actor")


def test_people_come_and_go(host: Host, api: Api, server: Server) -> None:
    invited = api.ok(
        "POST", "/invitations", {"email": f"dory{server.port}@example.org", "role": "viewer"}
    )
    assert invited["path"].startswith("/invitations/accept?token=")
    assert api("DELETE", f"/invitations/{invited['id']}").status == 204
    assert api("DELETE", f"/invitations/{invited['id']}").status == 404
    person = api.ok("POST", "/members", {"name": "Dory", "email": f"d{server.port}@example.org"})
    key = api.ok("POST", "/keys", {"name": "dory", "user_id": person["id"]})["key"]
    assert server.call(body=chat(), key=key).status == 200
    assert api.ok("PATCH", f"/members/{person['id']}", {"role": "admin"})["role"] == "admin"
    assert api("DELETE", f"/members/{person['id']}").status == 204
    assert server.call(body=chat(), key=key).status == 401
    assert api("GET", f"/members/{person['id']}").status == 404


def test_the_last_owner_stays(host: Host, api: Api) -> None:
    others = [one["id"] for one in api.ok("GET", "/members")["data"] if one["role"] == "owner"]
    me = api.ok("GET", "/me")["id"]
    for other in others:
        if other != me:
            assert api("DELETE", f"/members/{other}").status == 204
    assert api("DELETE", f"/members/{me}").status == 409
    assert api("PATCH", f"/members/{me}", {"role": "admin"}).status == 409
    assert api("PATCH", f"/members/{me}", {"status": "disabled"}).status == 409
    assert api.ok("GET", "/me")["role"] == "owner"


def test_admins_make_no_owners(host: Host, server: Server) -> None:
    admin = Api(server, management_key(host, Role.ADMIN))
    owner = Api(server, management_key(host, Role.OWNER))
    me = admin.ok("GET", "/me")["id"]
    boss = owner.ok("GET", "/me")["id"]
    assert admin("PATCH", f"/members/{me}", {"role": "owner"}).status == 400
    assert admin("PATCH", f"/members/{boss}", {"role": "member"}).status == 400
    assert admin("DELETE", f"/members/{boss}").status == 400
    assert admin("POST", "/invitations", {"email": "x@example.org", "role": "owner"}).status == 400
    assert admin("DELETE", "/org").status == 403


def test_a_price_is_deleted_by_its_model(api: Api) -> None:
    """Row P1 of the attacks. A model's name may hold slashes, as they are or encoded."""
    for model, path in (("m1", "m1"), ("openai/m2", "openai/m2"), ("a/b c?", "a%2Fb%20c%3F")):
        api.ok("PUT", "/prices", {"model": model, "input": "1"})
        assert api("DELETE", f"/prices/{path}").status == 204
        assert model not in [price["model"] for price in api.ok("GET", "/prices")["data"]]
        assert api("DELETE", f"/prices/{path}").status == 404
