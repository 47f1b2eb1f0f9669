"""The management API: JSON over the services, under ``/api/v1``."""

from typing import Any


def routes() -> list[Any]:
    """The handlers of all calls."""
    return []
