"""The dashboard: HTML pages rendered on the server. A face of the services; it holds no rules of its own."""

from typing import Any


def routes() -> list[Any]:
    """The handlers of all pages."""
    return []
