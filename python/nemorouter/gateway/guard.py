"""Which paths of a wrapped app need a key. When in doubt they do: the app may read a path more
kindly than we do.
"""

import posixpath
from collections.abc import Sequence
from urllib.parse import unquote

from nemorouter.errors import ConfigurationError


class Guard:
    """Tells whether a path lies at or below one of ``roots``."""

    def __init__(self, roots: Sequence[str]) -> None:
        for root in roots:
            if not root.startswith("/"):
                raise ConfigurationError(f"paths: {root!r} must start with a slash.")
        self._roots = tuple(root.rstrip("/").lower() for root in roots)
        self._below = tuple(f"{root}/" for root in self._roots)

    def __call__(self, path: str) -> bool:
        if path.startswith(self._below) or path in self._roots:
            return True
        plain = posixpath.normpath("/" + unquote(path).lower().replace("\\", "/").lstrip("/"))
        return plain.startswith(self._below) or plain in self._roots
