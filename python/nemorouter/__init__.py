"""NemoRouter: authentication, limits, budgets and a ledger in front of any OpenAI-compatible API."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nemorouter._core import Gate
    from nemorouter.middleware import NemoAuth
    from nemorouter.settings import Settings

__all__ = ["Gate", "NemoAuth", "Settings"]

_HOMES = {
    "Gate": "nemorouter._core",
    "NemoAuth": "nemorouter.middleware",
    "Settings": "nemorouter.settings",
}


def __getattr__(name: str) -> object:
    """Import what is asked for, and nothing else: ``nemorouter --help`` must stay quick."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
