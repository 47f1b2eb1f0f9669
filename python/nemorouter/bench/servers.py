"""Prepare what is measured: the gateway on a data directory of its own, and bare Granian.

Granian gets the settings that ``nemorouter serve`` uses, so that the two differ by the app alone.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from nemorouter.bench.client import ask, request
from nemorouter.server.serve import RUNTIMES
from nemorouter.services.budgets.budgets import NewBudget
from nemorouter.services.operations.bootstrap import bootstrap, local_actor, note_shown
from nemorouter.services.scopes import keys
from nemorouter.services.scopes.limits import NewScope
from nemorouter.services.scopes.teams import create_team
from nemorouter.services.transaction.context import Context
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
_PROMPT: Final = "from nemorouter.server.worker import be_prompt; be_prompt(); "
_GRANIAN: Final = "from granian.cli import entrypoint; entrypoint()"
_SERVE: Final = (
    "from nemorouter.server.serve import run; from nemorouter.settings import Settings; "
    "run(Settings.load())"
)


class Keys(NamedTuple):
    """The keys of one data directory, by the limits that each has.

    The limits of the first three are so wide that no load reaches them.
    """

    free: str
    """A key without limit and budget, at every level."""
    limited: str
    """A key with RPM and TPM, and a team with both."""
    everything: str
    """A key with RPM, TPM and a budget, and a team with all three."""
    five: str
    """A key of five requests a minute: the sixth is refused."""
    poor: str
    """A key with a budget that one answer exceeds."""
    none: str
    """A key of no request a minute: each one gets a 429."""


def gateway() -> list[str]:
    """Return the command of ``nemorouter serve``; its settings come from the environment."""
    return [sys.executable, "-c", _SERVE]


def granian(
    target: str, port: int, interface: str = "rsgi", *options: str, prompt: bool = True
) -> list[str]:
    """Return the command of Granian with one worker and the settings of ``nemorouter serve``.

    ``options`` come last and win. ``prompt`` gives its threads the short time slice of ``serve``.
    """
    program = (_PROMPT if prompt else "") + _GRANIAN
    base = f"--port {port} --http 1 --no-ws --no-log --loop uvloop --runtime-mode st"
    chosen = f"--runtime-threads {RUNTIMES} --interface {interface}"
    return [sys.executable, "-c", program, *base.split(), *chosen.split(), *options, target]


def responds(path: str = "/healthz") -> Callable[[int], bool]:
    """Return a test of readiness: a GET of ``path`` gets any HTTP answer.

    A socket may listen before a worker runs, so a connection alone is no sign of readiness.
    """
    return lambda port: ask(port, request(path, method="GET"), 2).status > 0


def is_ready(port: int) -> bool:
    """Tell whether the gateway on ``port`` reports that it may admit requests."""
    return ask(port, request("/readyz", method="GET"), 2).status == 200


def prepare(folder: Path, **options: Any) -> tuple[Settings, Keys]:
    """Create a data directory below ``folder`` with all ``Keys``; return settings and keys.

    ``options`` are fields of ``Settings``.
    """
    chosen: dict[str, Any] = {"capacity": 1000, "log_level": "error"} | options
    settings = Settings(data_dir=folder / "data", **chosen)
    return settings, asyncio.run(_keys(settings))


async def _keys(settings: Settings) -> Keys:
    store = await Store.open(settings, migrate=True)
    try:
        await bootstrap(store, settings)
        await note_shown(store)
        context = await Context.attach(store, settings)
        actor = await local_actor(context)
        await create_team(context, actor, NewScope(name="limited", **_WIDE))
        await create_team(context, actor, NewScope(name="everything", budget=_BUDGET, **_WIDE))

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
