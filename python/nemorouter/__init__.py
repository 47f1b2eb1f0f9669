"""NemoRouter: authentication, limits, budgets and a ledger in front of any OpenAI-compatible API.

``nemorouter.gate`` is the decision alone, ``nemorouter.reference`` the same in pure Python.
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from nemorouter.errors import ConfigurationError, NemoError, TicketError
    from nemorouter.gate import Gate as Gate
    from nemorouter.gateway.wrapped.caller import Caller
    from nemorouter.middleware import NemoAuth
    from nemorouter.settings import Settings

    __version__: str

__all__ = [
    "Caller",
    "ConfigurationError",
    "NemoAuth",
    "NemoError",
    "Settings",
    "TicketError",
    "__version__",
]

_HOMES: Final = {
    "Caller": "nemorouter.gateway.wrapped.caller",
    "ConfigurationError": "nemorouter.errors",
    "Gate": "nemorouter.gate",
    "NemoAuth": "nemorouter.middleware",
    "NemoError": "nemorouter.errors",
    "Settings": "nemorouter.settings",
    "TicketError": "nemorouter.errors",
}
"""Module of each public name. ``Gate`` is documented as ``nemorouter.Gate`` too."""


def __getattr__(name: str) -> object:
    """Import the home of a public name on its first use, so that ``nemorouter --help`` is quick."""
    if name == "__version__":
        return metadata.version("nemorouter")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
