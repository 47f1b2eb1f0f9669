"""Make NemoRouter in all its forms: on RSGI and ASGI, around an app, and with the reference gate.

Each is checked before it is measured: answers, headers, limits, budgets and the request log.
"""

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benches.load.case import Server
from benches.load.floor import ROOT
from nemorouter.bench.check import check_gateway
from nemorouter.bench.client import request
from nemorouter.bench.servers import BODY, CHAT, Keys, gateway, granian, is_ready, prepare, responds
from nemorouter.settings import Settings, UpstreamSettings

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]

Command = Callable[[int], Sequence[str]]


class Ours:
    """NemoRouter's servers; each has a data directory of its own, with the same kinds of keys."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.keys: dict[str, Keys] = {}
        self.settings: dict[str, Settings] = {}

    def rsgi(self, name: str = "NemoRouter RSGI", upstream_port: int = 0, **options: int) -> Server:
        """Make the gateway as ``nemorouter serve`` runs it."""
        return self._server(name, lambda _: gateway(), upstream_port, **options)

    def under(self, name: str, options: Sequence[str]) -> Server:
        """Make the gateway with other settings of Granian; its worker has a thread that drains."""
        return self._server(
            name, lambda port: granian("nemorouter.app:app", port, "rsgi", *options)
        )

    def asgi(self, name: str = "NemoRouter ASGI", upstream_port: int = 0) -> Server:
        """Make the gateway on Granian's ASGI; its worker has a thread that drains."""
        return self._server(
            name, lambda port: granian("nemorouter.app:app", port, "asgi"), upstream_port
        )

    def fastapi(self) -> Server:
        """Make a FastAPI app with NemoAuth around it."""
        target = "benches.load.apps.fastapi_app:guarded"
        server = self._server("NemoAuth around FastAPI", lambda port: granian(target, port, "asgi"))
        return server._replace(ready=responds("/healthz"), cwd=ROOT)

    def pure(self) -> Server:
        """Make the gateway with the gate in pure Python."""
        target = "benches.load.apps.pure_gate:app"
        server = self._server("NemoRouter, pure-Python gate", lambda port: granian(target, port))
        return server._replace(cwd=ROOT)

    def _server(
        self,
        name: str,
        command: Callable[[int], Sequence[str]],
        upstream_port: int = 0,
        **options: Any,
    ) -> Server:
        folder = self._folder / name.replace(" ", "-").replace(",", "")
        if upstream_port:
            upstream = UpstreamSettings(
                name="local", base_url=f"http://127.0.0.1:{upstream_port}/v1"
            )
            options["upstreams"] = (upstream,)
        settings, keys = prepare(folder, **options)
        self.keys[name] = keys
        self.settings[name] = settings

        def env(port: int) -> dict[str, str]:
            return msgspec.structs.replace(settings, port=port).to_env()

        def check(port: int) -> None:
            check_gateway(port, keys, settings)

        return Server(name, VERSION, command, is_ready, check, env)


def spray(count: int = 997) -> tuple[bytes, ...]:
    """Build ``count`` requests, each with another unknown key."""
    return tuple(request(CHAT, BODY, f"sk-nemo-{number:020d}") for number in range(count))
