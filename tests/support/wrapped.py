"""Serve a wrapped app, and call it with a key."""

from typing import Any, Final

from tests.support.servers import Host, Server, chat

APPS: Final = "tests.support.wrapped_apps"


class Wrapped:
    """Call an app that ``NemoAuth`` wraps and a server serves."""

    def __init__(self, host: Host, server: Server) -> None:
        self.host = host
        self.server = server
        self.key = host.key("my key")
        self.rows = 0

    def ask(self, model: str, **fields: Any) -> tuple[Any, dict[str, Any]]:
        """Send a chat request; return the answer and its row of the request log."""
        answer = self.server.call(body=chat(model, **fields), key=self.key)
        self.rows += 1
        return answer, self.host.rows(self.rows)[-1]
