"""Render templates. Stored text is never marked as safe: what people typed is always escaped."""

import hashlib
import mimetypes
import secrets
from functools import cache
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import MediaType, Response
from litestar.response import Redirect
from litestar.status_codes import HTTP_303_SEE_OTHER

from nemorouter.control.pages import words
from nemorouter.types import RATES

YEAR_S: Final = 31_536_000


@cache
def environment() -> Environment:
    """Load the templates of the package, with the filters of ``words``."""
    made = Environment(
        loader=PackageLoader("nemorouter.control"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "usd": words.usd,
        "exact": words.exact,
        "grouped": words.grouped,
        "counted": words.counted,
        "compact": words.compact,
        "limit": words.limit,
        "level": words.level,
        "ago": words.ago,
        "instant": words.instant,
        "short_day": words.short_day,
        "title_word": words.title,
    }
    made.globals |= {
        "once_token": lambda: secrets.token_urlsafe(16),
        "percent": words.percent,
        "asset": asset,
        "rates": RATES,
        "scope_path": scope_path,
    }
    return made


def page(template: str, *, status: int = 200, **values: Any) -> Response[str]:
    """Render a page of HTML that neither browsers nor proxies keep."""
    return Response(
        environment().get_template(template).render(**values),
        status_code=status,
        media_type=MediaType.HTML,
        headers={"cache-control": "no-store"},
    )


def go(path: str, done: str = "") -> Redirect:
    """Redirect to another page after a form was accepted.

    ``done`` names the message that the page shows (see ``flash``).
    """
    if not path.startswith("/") or path.startswith(("//", "/\\")):
        path = "/"
    if done:
        path += ("&" if "?" in path else "?") + "done=" + done
    return Redirect(path, status_code=HTTP_303_SEE_OTHER)


def scope_path(kind: str, id: str) -> str:
    """Return the path of a scope's page within its org."""
    return {"key": f"/keys/{id}", "team": f"/teams/{id}", "user": f"/people/members/{id}"}.get(
        kind, "/settings"
    )


@cache
def assets() -> dict[str, tuple[bytes, str, str]]:
    """Our few static files: name to bytes, type and mark of the content."""
    found = {}
    for file in (resources.files("nemorouter.control") / "static").iterdir():
        kind = mimetypes.guess_type(file.name)[0]
        if kind is not None:
            data = file.read_bytes()
            found[file.name] = (data, kind, hashlib.sha256(data).hexdigest()[:16])
    return found


def asset(name: str) -> str:
    """Return the address of a static file.

    The address changes with the content, so that browsers may keep the file for ever.
    """
    return f"/static/{name}?v={assets()[name][2]}"


def static(name: str) -> Response[bytes] | None:
    """Return a static file; None if there is none of this name."""
    if name not in assets():
        return None
    data, kind, mark = assets()[name]
    kept = f"public, max-age={YEAR_S}, immutable"
    return Response(data, media_type=kind, headers={"cache-control": kept, "etag": f'"{mark}"'})
