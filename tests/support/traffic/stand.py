"""Play the shapes against one driver: one server, all shapes, then one look at the log."""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nemorouter.arena import attach
from nemorouter.services.budgets import prices
from nemorouter.services.budgets.budgets import NewBudget
from nemorouter.services.operations.bootstrap import local_actor
from nemorouter.services.scopes import keys
from nemorouter.services.transaction.context import Context
from nemorouter.types import Kind
from tests.support.servers import Host, Server, until
from tests.support.traffic import client
from tests.support.traffic.client import Got, talk
from tests.support.traffic.provider import Provider, Stage
from tests.support.traffic.shapes import COST, GATEWAYS, Shape, model_of, shapes

_SERVERS: Final = {
    "rsgi": ("rsgi", "nemorouter.app:app"),
    "asgi": ("asgi", "nemorouter.app:app"),
    "uvicorn": ("uvicorn", "nemorouter.app:app"),
    "wrapped-rsgi": ("granian-rsgi", "tests.support.traffic.apps:rsgi_app"),
    "wrapped-asgi": ("asgi", "tests.support.traffic.apps:asgi_app"),
    "wrapped-uvicorn": ("uvicorn", "tests.support.traffic.apps:asgi_app"),
}
_PRICE: Final = {"input": "1", "output": "10"}
_BUDGET_USD: Final = "100000"
_AT_ONCE: Final = 8
WRONG: Final = "sk-nemo-" + "w" * 20


@dataclass
class Play:
    """One shape as one client played it: what came back, what arrived, what was recorded."""

    name: str
    shape: Shape
    asked: bool
    model: str
    key: str
    answers: list[Got] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    stage: Stage = field(default_factory=Stage)
    committed: int = 0
    spent: int = 0


class Stand:
    """A driver whose server runs, and the plays on it."""

    def __init__(self, driver: str, host: Host, server: Server, provider: Provider) -> None:
        self.driver = driver
        self._host = host
        self._server = server
        self._provider = provider
        self.plays: dict[str, list[Play]] = {}

    def play(self) -> None:
        """Play all shapes that the driver can hold, and collect what became of them."""
        names = [name for name, shape in shapes().items() if not shape.kept_out(self.driver)]
        ways = [(name, asked) for name in names for asked in shapes()[name].choices]
        issued = asyncio.run(self._prepare(ways))
        plays = [
            Play(name, shapes()[name], asked, model_of(name, asked=asked), issued[name])
            for name, asked in ways
        ]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self._run, plays))
        self._collect(plays)
        found = defaultdict(list)
        for play in plays:
            found[play.name].append(play)
        self.plays = dict(found)

    async def _prepare(self, ways: list[tuple[str, bool]]) -> dict[str, str]:
        """Set the prices; make a key for all shapes, and one for each that wants its own."""
        context = await Context.open(self._host.settings)
        try:
            actor = await local_actor(context)
            told = [_price(name, asked=asked) for name, asked in ways]
            await prices.import_prices(context, actor, told)
            budget = NewBudget(max_spend=_BUDGET_USD, duration="total")
            common = await keys.create(context, actor, keys.NewKey(name="all", budget=budget))
            issued = {}
            for name in {name for name, _ in ways}:
                wants = dict(shapes()[name].key)
                if not wants:
                    issued[name] = common.key
                    continue
                if "max_spend" in wants:
                    spend = wants.pop("max_spend")
                    wants["budget"] = NewBudget(max_spend=spend, duration="total")
                own = await keys.create(context, actor, keys.NewKey(name=name, **wants))
                issued[name] = own.key
            return issued
        finally:
            await context.close()

    def _run(self, play: Play) -> None:
        """Play one shape; all its calls at once."""
        play.stage = self._provider.stages[play.model]
        count = play.shape.request.at_once
        with ThreadPoolExecutor(count) as pool:
            for done in [pool.submit(self._call, play) for _ in range(count)]:
                done.result()

    def _call(self, play: Play) -> None:
        shape = play.shape
        asked = play.shape.request
        pieces: list[Any] = list(asked.send)
        body = shape.body(play.model, asked=play.asked)
        target = asked.target or f"/v1/{shape.path}"
        headers = {"content-type": "application/json", **asked.headers}
        match asked.credential:
            case "bearer":
                headers = {"authorization": f"Bearer {play.key}", **headers}
            case "wrong":
                headers = {"authorization": f"Bearer {WRONG}", **headers}
            case "x-api-key":
                headers = {"x-api-key": play.key, **headers}
        given = body if asked.method == "POST" else None
        if not pieces:
            pieces = [client.head(asked.method, target, [*headers.items()], given)]
            pieces.append(given or b"")
        else:
            text = {"<key>": play.key, "<model>": play.model}
            pieces = [_filled(piece, text) for piece in pieces]
        leaves = shape.answer is not None and any(step.leave for step in shape.answer.send)
        shown = len(shown_by(self.driver, play, 0)) if leaves else None
        waits = [step for step in (shape.answer.send if shape.answer else ()) if step.wait]
        awaited = len(_before_wait(shape)) if waits else 0

        def seen(got: bytes) -> None:
            if waits and len(got) >= awaited and not play.stage.seen.is_set():
                play.stage.seen.set()
                self._tell(play, "seen")

        got = talk(self._server.port, pieces, split=asked.split, until=shown, seen=seen)
        play.answers.append(got)
        play.stage.answered = len(play.answers)
        play.stage.look(asked.at_once)
        admitted = shape.expect.admitted
        if admitted is not None and len(play.answers) >= asked.at_once - admitted:
            self._tell(play, "others")

    def _tell(self, play: Play, what: str) -> None:
        """Tell an app in the server's process what happened here."""
        (self._host.folder / f"{play.model}.{what}").touch()

    def _collect(self, plays: list[Play]) -> None:
        """Find each play's rows, once they are all in the log."""
        want = sum(_rows(self.driver, play) for play in plays)

        def count() -> int:
            with self._open() as connection:
                found: int = connection.execute("SELECT count(*) FROM requests").fetchone()[0]
                return found

        with suppress(AssertionError):  # the play whose row is missing says so
            until(lambda: count() >= want, 10)
        rows = defaultdict(list)
        with self._open() as connection:
            connection.row_factory = sqlite3.Row
            for row in connection.execute("SELECT * FROM requests ORDER BY at_ms, journal_id, seq"):
                rows[row["model"]].append(dict(row))
            known = connection.execute("SELECT id, name, digest FROM keys").fetchall()
        arena = attach.live(self._host.settings)
        assert arena is not None
        committed = {}
        spent: defaultdict[str, int] = defaultdict(int)
        names = {}
        for id, name, digest in known:
            index = arena.find(Kind.KEY, id, digest)
            assert index is not None
            committed[name] = arena.meters(index).committed
            names[id] = name
        for found in rows.values():
            for row in found:
                spent[names[row["key_id"]]] += row["cost_nano"] or 0
        for play in plays:
            play.rows = rows[play.model]
            name = play.name if play.shape.key else "all"
            play.committed = committed[name]
            play.spent = spent[name]

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._host.settings.data_dir / "nemorouter.db")


def _price(name: str, *, asked: bool) -> prices.Price:
    told: dict[str, Any] = {**_PRICE, **shapes()[name].price}
    return prices.Price(model=model_of(name, asked=asked), **told)


def _filled(piece: Any, words: dict[str, str]) -> Any:
    text = piece.text
    for word, value in words.items():
        text = text.replace(word, value)
    return type(piece)(text=text, times=piece.times, end=piece.end)


def _rows(driver: str, play: Play) -> int:
    """Return how many rows a play leaves."""
    expect = play.shape.expected(driver)
    if expect.tokens is None:
        return 0
    return play.shape.request.at_once if expect.admitted is None else expect.admitted


def _before_wait(shape: Shape) -> bytes:
    assert shape.answer is not None
    parts = []
    for step in shape.answer.send:
        if step.wait:
            break
        parts.append(step.text * step.times)
    return "".join(parts).encode()


def shown_by(driver: str, play: Play, cost_nano: int) -> bytes:
    """Return what the client is shown of an answer that passes."""
    edited = driver in GATEWAYS and play.shape.path in ("chat/completions", "completions")
    told = COST % f"{cost_nano // 10**9}.{cost_nano % 10**9:09}"
    return play.shape.sent(hidden=play.asked or not edited, cost=told)


@contextmanager
def stand(driver: str, folder: Path, **options: Any) -> Iterator[Stand]:
    """Start a driver's server, and play all shapes on it."""
    kind, app = _SERVERS[driver]
    with Provider() as provider:
        settings = {"upstreams": provider.settings(), "log_level": "error", **options}
        host = Host(folder, settings)
        with host.serve(kind, app) as server:
            made = Stand(driver, host, server, provider)
            made.play()
            yield made
