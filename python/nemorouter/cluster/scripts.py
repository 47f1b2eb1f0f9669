"""Lua that runs inside Redis: its text, and how it is called."""

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError


class Script:
    """``lua/<name>.lua``, called by its digest; a server that does not know it gets the text."""

    def __init__(self, name: str) -> None:
        self.text = (files("nemorouter.cluster") / "lua" / f"{name}.lua").read_text("utf-8")
        self._digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Any, keys: Sequence[str], arguments: Sequence[str]) -> Any:  # noqa: ANN401 - RESP
        """Run the script and return its answer."""
        try:
            return await client.evalsha(self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await client.eval(self.text, len(keys), *keys, *arguments)
