"""What is measured: the gateway on a data directory made for it, and the floor under the same
settings of Granian.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from nemorouter.bench.client import ask, request
from nemorouter.serve import RUNTIMES
from nemorouter.services import keys, owners
from nemorouter.services.bootstrap import bootstrap, local_actor
from nemorouter.services.budgets import NewBudget
from nemorouter.services.context import Context
from nemorouter.services.limits import NewScope
from nemorouter.settings import Settings
from nemorouter.store.engine import Store

CHAT: Final = "/v1/chat/completions"
BODY: Final = (
    b'{"model":"gpt-4o","messages":[{"role":"system","content":"You are a helpful assistant."},'
    b'{"role":"user","content":"Say hello to the world, and be brief about it."}],"max_tokens":16}'
)
UNKNOWN_KEY: Final = "sk-nemo-" + "x" * 20
_MOST: Final = 1_000_000_000
_WIDE: Final[dict[str, Any]] = {"rpm": _MOST, "tpm": _MOST}
_BUDGET: Final = NewBudget(max_spend="1000000", duration="monthly")
_PROMPT: Final = "from nemorouter.serve import be_prompt; be_prompt(); "
_GRANIAN: Final = "from granian.cli import entrypoint; entrypoint()"
_SERVE: Final = "from nemorouter.serve import run; from nemorouter.settings import Settings; run(Settings.load())"


class Keys(NamedTuple):
    """Keys of one data directory: what each is bound by. None of the first three is ever exhausted."""

    free: str
    """no limit and no budget, at any level"""
    limited: str
    """RPM and TPM, of its own and of its team"""
    everything: str
    """RPM, TPM and a budget, of its own and of its team"""
    five: str
    """five requests a minute, so that the sixth is refused"""
    poor: str
    """a budget that one answer exceeds"""
    none: str
    """no request at all: every one is a 429"""


def gateway() -> list[str]:
    """The server as ``nemorouter serve`` runs it; its settings come through the environment."""
    return [sys.executable, "-c", _SERVE]


def granian(
    target: str, port: int, interface: str = "rsgi", *options: str, prompt: bool = True
) -> list[str]:
    """Granian with one worker, as ``serve`` starts it, but for ``options``; ``prompt``: with its
    short time slice.
    """
    base = [
        "--port",
        str(port),
        "--http",
        "1",
        "--no-ws",
        "--no-log",
        "--loop",
        "uvloop",
        "--runtime-mode",
        "st",
    ]
    threads = ["--runtime-threads", str(RUNTIMES)]
    return [
        sys.executable,
        "-c",
        (_PROMPT if prompt else "") + _GRANIAN,
        *base,
        *threads,
        "--interface",
        interface,
        *options,
        target,
    ]


def responds(path: str = "/healthz") -> Callable[[int], bool]:
    """Ready when an HTTP answer comes back. (A listening socket alone does not mean that a worker
    runs.)
    """
    return lambda port: ask(port, request(path, method="GET"), 2).status > 0


def is_ready(port: int) -> bool:
    """The gateway may admit."""
    return ask(port, request("/readyz", method="GET"), 2).status == 200


def prepare(folder: Path, **options: Any) -> tuple[Settings, Keys]:
    """A fresh data directory under ``folder``, with keys of every kind."""
    chosen: dict[str, Any] = {"capacity": 1000, "log_level": "error"} | options
    settings = Settings(data_dir=folder / "data", **chosen)
    return settings, asyncio.run(_keys(settings))


async def _keys(settings: Settings) -> Keys:
    store = await Store.open(settings, migrate=True)
    try:
        await bootstrap(store, settings)
        context = await Context.attach(store, settings)
        actor = await local_actor(context)
        await owners.create_team(context, actor, NewScope(name="limited", **_WIDE))
        await owners.create_team(
            context, actor, NewScope(name="everything", budget=_BUDGET, **_WIDE)
        )

        async def key(name: str, **fields: Any) -> str:
            new = keys.NewKey(name=name, user="owner@localhost", **fields)
            return (await keys.create(context, actor, new)).key

        return Keys(
            free=await key("free"),
            limited=await key("limited", team="limited", **_WIDE),
            everything=await key("everything", team="everything", budget=_BUDGET, **_WIDE),
            five=await key("five", rpm=5),
            poor=await key("poor", budget=NewBudget(max_spend="0.0005", duration="monthly")),
            none=await key("none", rpm=0, tpm=_MOST, budget=_BUDGET),
        )
    finally:
        await store.close()
