"""Make the OpenAPI 3.1 document from the table that makes the handlers."""

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec

from nemorouter.control import policy
from nemorouter.control.api.call import Route
from nemorouter.roles import ACTIONS, OPERATOR_ACTIONS
from nemorouter.services.fields.values import ENDPOINTS
from nemorouter.types import MAX_MODEL_BYTES, RATES

_TEXT: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
_DAY: Final = {"type": "string", "format": "date"}
_FUTURE: Final = (
    r"20[3-9][0-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
    r"(T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](Z|[+-](0[0-9]|1[0-3]):[0-5][0-9]))?"
)
_USD: Final = {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,9})?$"}
_DURATIONS: Final = ["total", "daily", "weekly", "monthly"]
_ROLES: Final = ["owner", "admin", "member", "viewer"]
ID: Final = "^(key|team|user|org|inv|mk|hook|alert)_[0-7][0-9a-hjkmnp-tv-z]{12}$"

_GIVEN: Final[dict[str, dict[str, Any]]] = {
    "name": {"minLength": 1, "maxLength": 200, "pattern": r"^[!-~]([ -~]*[!-~])?$"},
    **{
        field: {"minimum": 0, "maximum": rate.most}
        for rate in RATES
        for field in (rate.name, rate.burst)
    },
    "max_spend": _USD,
    "duration": {"enum": _DURATIONS},
    "role": {"enum": _ROLES},
    "status": {"enum": ["active", "disabled"]},
    "email": {
        "format": "email",
        "maxLength": 200,
        "pattern": r"^[a-z0-9.]{1,40}@[a-z0-9]{1,40}\.[a-z]{2,10}$",
    },
    "expires_at": {"pattern": f"^([1-9][0-9]{{0,3}}[mhdw]|{_FUTURE})$"},
    "url": {
        "format": "uri",
        "maxLength": 2000,
        "pattern": r"^https://[a-z0-9]+(\.[a-z0-9]+)*/[a-z0-9/]*$",
    },
    "model": {"minLength": 1, "maxLength": 120, "pattern": r"^[!-)+-~]+$"},
    "input": _USD,
    "cached": _USD,
    "output": _USD,
    "request": _USD,
    "max_output": {"minimum": 1, "maximum": 100_000_000},
}
"""Constraints of body fields beyond their types."""

_ITEMS: Final[dict[str, dict[str, Any]]] = {
    "allowed_models": {"minLength": 1, "maxLength": 120, "pattern": r"^[!-)+-~]+\*?$"},
    "allowed_endpoints": {"enum": list(ENDPOINTS)},
    "allowed_ips": {
        "pattern": (
            r"^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}"
            r"(25[0-5]|1[0-9]{2}|[1-9]?[0-9])$"
        )
    },
}

_ASKED: Final[dict[str, dict[str, Any]]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
    "cursor": {"type": "string"},
    "group_by": {"type": "string", "enum": ["key", "team", "user", "model"], "default": "key"},
    "interval": {"type": "string", "enum": ["day", "hour"], "default": "day"},
    "outcome": {
        "type": "string",
        "enum": ["ok", "upstream_error", "client_gone", "timeout", "recovered"],
    },
    "since": _DAY,
    "until": _DAY,
}
_CURSORS: Final = {
    "/keys": "^key_[0-7][0-9a-hjkmnp-tv-z]{12}$",
    "/teams": "^team_[0-7][0-9a-hjkmnp-tv-z]{12}$",
    "/members": "^user_[0-7][0-9a-hjkmnp-tv-z]{12}$",
    "/budgets": r"^[1-4]\.[0-9]{1,18}$",
    "/alerts": "^alert_[0-7][0-9a-hjkmnp-tv-z]{12}$",
    "/audit": "^[0-9]{1,18}$",
    "/logs": r"^[0-9]{1,18}\.[0-9]{1,18}\.[0-9]{1,18}$",
}
_KEY_STATUS: Final = {"type": "string", "enum": ["active", "disabled", "revoked"]}

_REFUSALS: Final = {
    "400": "The request is not valid; the message says what.",
    "401": "No credential, or a wrong one.",
    "403": "The role does not allow it, or the change did not come from our own pages.",
    "404": "There is no such thing in this org.",
    "409": (
        "It exists already, its state forbids it, or the Idempotency-Key was used "
        "for another request."
    ),
    "413": "The body is too large.",
    "415": "The body is not application/json.",
    "429": "Too many attempts; see Retry-After.",
    "503": "Overloaded, or the store cannot be reached; see Retry-After.",
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """Make the whole document."""
    types = {route.body for route in routes} | {route.answer for route in routes}
    ordered = sorted(types - {None}, key=str)
    schemas, components = msgspec.json.schema_components(
        ordered, ref_template="#/components/schemas/{name}"
    )
    refs = dict(zip(ordered, schemas, strict=True))
    bodies = {
        name for route in routes if route.body for name in _names(refs[route.body], components)
    }
    for name in bodies:
        _tighten(components[name])
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(policy.API + route.path, {})[route.method.lower()] = _operation(
            route, refs
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "NemoRouter management API",
            "version": _version(),
            "description": "Keys, teams, people, budgets, usage and records of one org.",
        },
        "servers": [{"url": "/"}],
        "security": [{"management_key": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": components | {"Error": _ERROR},
            "securitySchemes": {
                "management_key": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "mk-nemo-...",
                },
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-nemo"},
            },
        },
    }


_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code"],
            "additionalProperties": False,
            "properties": {name: {"type": "string"} for name in ("message", "type", "code")},
        }
    },
}


def _operation(route: Route, refs: dict[Any, Any]) -> dict[str, Any]:
    action = policy.ROUTES[f"{route.method} {policy.API}{route.path}"]
    name = re.sub(r"[^a-z]+", "_", f"{route.method} {route.path}".lower()).strip("_")
    found: dict[str, Any] = {
        "operationId": name,
        "summary": route.about,
        "tags": [route.path.split("/")[1]],
        "description": _who(action),
        "parameters": _parameters(route),
        "responses": _responses(route, refs),
    }
    if route.body is not None:
        required = (
            any(field.required for field in msgspec.structs.fields(route.body))
            or route.method != "POST"
        )
        empty = not msgspec.structs.fields(route.body)
        content = {"application/json": {"schema": refs[route.body]}}
        found["requestBody"] = {"required": required or not empty, "content": content}
    return found


def _who(action: str) -> str:
    if action in OPERATOR_ACTIONS:
        return "For operators of the installation."
    if action not in ACTIONS:
        return "For everybody who is signed in."
    return f"Roles: {', '.join(role.name.lower() for role in ACTIONS[action])}."


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if "{id}" in route.path:
        schema: dict[str, Any] = {"type": "string", "pattern": ID}
        found.append({"name": "id", "in": "path", "required": True, "schema": schema})
    if "{model}" in route.path:
        schema = {"type": "string", "minLength": 1, "maxLength": MAX_MODEL_BYTES}
        found.append({"name": "model", "in": "path", "required": True, "schema": schema})
    if route.query is not None:
        for field in msgspec.structs.fields(route.query):
            schema = _ASKED.get(field.name, {"type": "string"})
            if field.name == "cursor" and route.path in _CURSORS:
                schema = {"type": "string", "pattern": _CURSORS[route.path]}
            if field.name == "status":
                schema = (
                    _KEY_STATUS
                    if route.path == "/keys"
                    else {"type": "integer", "minimum": 0, "maximum": 999}
                )
            found.append({"name": field.name, "in": "query", "required": False, "schema": schema})
    if route.method == "POST":
        schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
        found.append(
            {"name": "Idempotency-Key", "in": "header", "required": False, "schema": schema}
        )
    return found


def _responses(route: Route, refs: dict[Any, Any]) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "Done."}
    if route.answer is not None:
        done["content"] = {"application/json": {"schema": refs[route.answer]}}
    if route.rows is not None:
        done["content"]["text/csv"] = {"schema": {"type": "string"}}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    refusals = {
        status: {"description": text, "content": error} for status, text in _REFUSALS.items()
    }
    return {str(route.status): done} | refusals


def _names(schema: Any, components: dict[str, Any]) -> set[str]:  # noqa: ANN401 - a JSON schema
    """List the components that a schema refers to."""
    text = msgspec.json.encode(schema).decode()
    found: set[str] = set()
    for name in re.findall(r"#/components/schemas/([^\"]+)", text):
        found |= {name} | (_names(components[name], components) if name not in found else set())
    return found


def _tighten(schema: dict[str, Any]) -> None:
    """Say of a body's fields what the services check."""
    for name, field in schema.get("properties", {}).items():
        for part in [field, *field.get("anyOf", ())]:
            if part.get("type") in ("string", "integer") and name in _GIVEN:
                part |= _GIVEN[name]
            if part.get("type") == "array" and name in _ITEMS:
                part["items"] |= _ITEMS[name]
                part["maxItems"] = 1000


def _version() -> str:
    try:
        return version("nemorouter")
    except PackageNotFoundError:
        return "unknown"
