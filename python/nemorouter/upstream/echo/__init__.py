"""The built-in upstream: deterministic answers in OpenAI's format with true usage.

A fresh install does its whole job offline with it.
"""

from nemorouter.upstream.echo.server import Echo

__all__ = ["Echo"]
