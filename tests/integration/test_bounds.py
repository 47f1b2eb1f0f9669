"""Every bound that the OpenAPI document states holds at its exact value, on every call."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

import pytest

from nemorouter.control.api import ROUTES, openapi
from nemorouter.services.fields.values import ENDPOINTS
from tests.support.api import Api, management_key
from tests.support.servers import Host

DOCUMENT: Final = openapi.document(ROUTES)
SCHEMAS: Final = DOCUMENT["components"]["schemas"]
_fresh = count(100)

LEAST: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "NewKeyBody": lambda: {"name": f"key {next(_fresh)}"},
    "NewScope": lambda: {"name": f"team {next(_fresh)}"},
    "NewMember": lambda: {
        "name": "P",
        "email": f"p{next(_fresh)}@example.org",
        "role": "member",
    },
    "NewManagementKey": lambda: {"name": f"mk {next(_fresh)}"},
    "Price": lambda: {"model": "m", "input": "1", "output": "1"},
}
"""The least body of each struct that has fields which must be given."""

LISTS: Final[dict[str, Callable[[int], list[str]]]] = {
    "allowed_models": lambda n: [f"model-{number}" for number in range(n)],
    "allowed_endpoints": lambda n: [next(iter(ENDPOINTS))] * n,
    "allowed_ips": lambda n: [f"10.0.{n // 256}.{n % 256}" for n in range(n)],
}


def bounds() -> Iterator[Any]:
    """Name each bounded field of each call, with a value at the bound and one beyond it."""
    for route in ROUTES:
        name = "" if route.body is None else route.body.__name__
        for field, schema in SCHEMAS.get(name, {}).get("properties", {}).items():
            for bound, inside, beyond in _values(field, schema):
                place = f"{route.method} {route.path} {field} {bound}"
                yield pytest.param(route.method, route.path, name, field, inside, beyond, id=place)


def _values(field: str, schema: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for part in [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        if field == "email":
            continue  # its parts have bounds of their own, below that of the whole
        if "maxLength" in part:
            most = part["maxLength"]
            yield "maxLength", _text(field, most), _text(field, most + 1)
        if "minLength" in part:
            yield "minLength", _text(field, 1), ""
        if "maximum" in part:
            yield "maximum", part["maximum"], part["maximum"] + 1
        if "minimum" in part:
            yield "minimum", part["minimum"], part["minimum"] - 1
        if "maxItems" in part:
            made = LISTS[field]
            yield "maxItems", made(part["maxItems"]), made(part["maxItems"] + 1)
        if "maxLength" in part.get("items", {}):
            most = part["items"]["maxLength"]
            yield "items.maxLength", ["m" * most], ["m" * (most + 1)]


def _text(field: str, length: int) -> str:
    """Make a text of this length, of which no other test made one unless it has one character."""
    start = "https://example.org/" if field == "url" else str(next(_fresh))
    return start.ljust(length, "x") if length > len(start) else "abcdefghij"[next(_fresh) % 10]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(tmp_path_factory.mktemp("bounds"), {"capacity": 100_000})


@pytest.fixture(scope="module")
def api(host: Host) -> Iterator[Api]:
    with host.serve() as running:
        yield Api(running, management_key(host))


@pytest.fixture(scope="module")
def ids(api: Api) -> dict[str, str]:
    """Make an object of each kind that can be changed, by the start of its path."""
    return {
        kind: api.ok("POST", f"/{kind}", LEAST[struct]())["id"]
        for kind, struct in (
            ("keys", "NewKeyBody"),
            ("teams", "NewScope"),
            ("members", "NewMember"),
        )
    }


@pytest.mark.parametrize(("method", "path", "struct", "field", "inside", "beyond"), list(bounds()))
def test_a_bound_holds_at_its_value(
    api: Api,
    ids: dict[str, str],
    method: str,
    path: str,
    struct: str,
    field: str,
    inside: Any,
    beyond: Any,
) -> None:
    path = path.format(id=ids.get(path.split("/")[1], ""))
    least = LEAST.get(struct, dict)
    answer = api(method, path, {**least(), field: inside})
    assert 200 <= answer.status < 300, answer.body
    refused = api(method, path, {**least(), field: beyond})
    assert refused.status == 400, refused.body
    assert field in refused.json["error"]["message"]
