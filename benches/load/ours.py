"""NemoRouter in all its forms, each checked: answers, headers, and that limits, budgets and the log are real."""

import sqlite3
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benches.load.case import Server
from benches.load.floor import ROOT
from nemorouter.bench.client import Answer, ask, request
from nemorouter.bench.servers import BODY, CHAT, UNKNOWN_KEY, Keys, gateway, granian, is_ready, prepare, responds
from nemorouter.settings import Settings, Upstream

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]

Command = Callable[[int], Sequence[str]]


class Ours:
    """Each server has a data directory of its own, with the same kinds of keys."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.keys: dict[str, Keys] = {}
        self.settings: dict[str, Settings] = {}

    def rsgi(self, name: str = "NemoRouter RSGI", upstream_port: int = 0, **options: int) -> Server:
        """As ``nemorouter serve`` runs."""
        return self._server(name, lambda _: gateway(), upstream_port, **options)

    def asgi(self, name: str = "NemoRouter ASGI", upstream_port: int = 0) -> Server:
        """The whole gateway on Granian's ASGI; its drainer is a thread of the worker."""
        return self._server(name, lambda port: granian("nemorouter.app:app", port, "asgi"), upstream_port)

    def fastapi(self) -> Server:
        """NemoAuth around a FastAPI app."""
        target = "benches.load.apps.fastapi_app:guarded"
        server = self._server("NemoAuth around FastAPI", lambda port: granian(target, port, "asgi"))
        return server._replace(ready=responds("/healthz"), cwd=ROOT)

    def pure(self) -> Server:
        """The gateway with the gate in pure Python."""
        target = "benches.load.apps.pure_gate:app"
        server = self._server("NemoRouter, pure-Python gate", lambda port: granian(target, port))
        return server._replace(cwd=ROOT)

    def _server(
        self, name: str, command: Callable[[int], Sequence[str]], upstream_port: int = 0, **options: Any
    ) -> Server:
        folder = self._folder / name.replace(" ", "-").replace(",", "")
        if upstream_port:
            upstream = Upstream(name="local", base_url=f"http://127.0.0.1:{upstream_port}/v1")
            options["upstreams"] = (upstream,)
        settings, keys = prepare(folder, **options)
        self.keys[name], self.settings[name] = keys, settings

        def env(port: int) -> dict[str, str]:
            return msgspec.structs.replace(settings, port=port).to_env()

        def check(port: int) -> None:
            check_gateway(port, keys, settings)

        return Server(name, VERSION, command, is_ready, check, env)


def check_gateway(port: int, keys: Keys, settings: Settings) -> None:
    """Status, headers, counts; a limit of five admits five; a budget holds; every answer is in the log, once."""

    def call(key: str) -> Answer:
        return ask(port, request(CHAT, BODY, key))

    before = _rows(settings)
    good = [call(key) for key in (keys.free, keys.limited, keys.everything)]
    for answer in good:
        assert answer.status == 200, answer
        assert msgspec.json.decode(answer.body)["object"] == "chat.completion"
        assert answer.headers["x-nemo-request-id"].startswith("req_")
    assert "x-ratelimit-remaining-requests" not in good[0].headers
    assert {"x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens"} <= set(good[2].headers)
    five = [call(keys.five).status for _ in range(7)]
    assert five == [200] * 5 + [429] * 2, five
    poor = [call(keys.poor).status for _ in range(6)]
    assert 402 in poor, poor
    assert poor == sorted(poor), poor
    refused = call(keys.none)
    assert refused.status == 429, refused
    wrong = call(UNKNOWN_KEY)
    assert wrong.status == 401, wrong
    assert wrong.body == call("sk-nemo-short").body
    _wait_for_rows(settings, before + len(good) + five.count(200) + poor.count(200))


def _rows(settings: Settings) -> int:
    with sqlite3.connect(settings.data_dir / "nemorouter.db") as connection:
        found: int = connection.execute("SELECT count(*) FROM requests").fetchone()[0]
        return found


def _wait_for_rows(settings: Settings, wanted: int) -> None:
    end = time.monotonic() + 10
    while (found := _rows(settings)) != wanted:
        assert time.monotonic() < end, f"{found} rows in the log, {wanted} expected"
        time.sleep(0.02)


def spray(count: int = 997) -> tuple[bytes, ...]:
    """Requests with as many different unknown keys."""
    return tuple(request(CHAT, BODY, f"sk-nemo-{number:020d}") for number in range(count))
