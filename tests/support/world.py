"""Make a small world for tests of ledger and arena.

It is a data directory with its store, and scopes written by plain SQL.
"""

import secrets
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

from nemorouter.arena import attach
from nemorouter.datadir import orphaned_arenas
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.secrets import create_pepper, hash_key, load_peppers
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.types import Duration, Kind
from tests.support.sql import sql

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
TABLES = {Kind.ORG: "orgs", Kind.TEAM: "teams", Kind.USER: "users", Kind.KEY: "keys"}
ORG = 1
TEAM = 2
USER = 3
KEY = 1000


def a_key() -> str:
    """Draw a fresh, well-formed key."""
    return "sk-nemo-" + "".join(secrets.choice(_ALPHABET) for _ in range(20))


@dataclass
class World:
    """Org 1, team 2, user 3, and keys from 1000 on. ``keys`` maps an id to the full key."""

    settings: Settings
    store: Store
    keys: dict[int, str] = field(default_factory=dict)

    @classmethod
    async def make(cls, root: Path, **settings: Any) -> Self:
        values: dict[str, Any] = {"capacity": 4096, "journal_slots": 1024, **settings}
        config = Settings.load(data_dir=root, **values)
        store = await Store.open(config, migrate=True)
        if not config.pepper_path.exists():
            create_pepper(config.pepper_path)
        world = cls(config, store)
        await world.scope(Kind.ORG, ORG, name="Acme")
        await world.scope(Kind.TEAM, TEAM, name="Default", org_id=ORG)
        await world.scope(Kind.USER, USER, name="Ann", org_id=ORG, email="ann@example.com")
        return world

    @property
    def peppers(self) -> list[tuple[int, bytes]]:
        return load_peppers(self.settings.pepper_path)

    async def key(self, id: int = KEY, **columns: Any) -> str:
        """Insert an active key of team 2 and user 3, and return it."""
        text = a_key()
        self.keys[id] = text
        pepper_id, pepper = self.peppers[0]
        own: dict[str, Any] = {
            "name": f"key {id}",
            "org_id": ORG,
            "team_id": TEAM,
            "user_id": USER,
            "last4": text[-4:],
        }
        await self.scope(
            Kind.KEY, id, digest=hash_key(text, pepper), pepper_id=pepper_id, **{**own, **columns}
        )
        return text

    async def scope(
        self,
        kind: Kind,
        id: int,
        cap: int | None = None,
        duration: int = Duration.MONTHLY,
        **columns: Any,
    ) -> None:
        """Insert a scope, or change the given columns of one.

        The change is numbered as a service does.
        """
        async with self.store.begin() as connection:
            run = partial(sql, connection)
            table = TABLES[kind]
            if (await run(f"SELECT 1 FROM {table} WHERE id = ?", (id,))).first() is None:
                values = {"id": id, **columns}
                marks = ", ".join("?" * len(values))
                await run(
                    f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})",
                    tuple(values.values()),
                )
            else:
                for name, value in columns.items():
                    await run(f"UPDATE {table} SET {name} = ? WHERE id = ?", (value, id))
            if cap is not None:
                await run("DELETE FROM budgets WHERE kind = ? AND scope_id = ?", (int(kind), id))
                await run(
                    "INSERT INTO budgets (id, kind, scope_id, max_spend_nano, duration) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (secrets.randbits(60), int(kind), id, cap, int(duration)),
                )
            await run(
                "UPDATE meta SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) "
                "WHERE key = 'change_seq'"
            )
            (seq,) = (
                await run("SELECT CAST(value AS BIGINT) FROM meta WHERE key = 'change_seq'")
            ).one()
            await run("INSERT INTO changes (seq, kind, id) VALUES (?, ?, ?)", (seq, int(kind), id))
            await run(f"UPDATE {table} SET version = ? WHERE id = ?", (seq, id))

    async def price(self, model: str, **columns: int) -> None:
        """Insert a price."""
        async with self.store.begin() as connection:
            run = partial(sql, connection)
            await run(
                "UPDATE meta SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) "
                "WHERE key = 'change_seq'"
            )
            (seq,) = (
                await run("SELECT CAST(value AS BIGINT) FROM meta WHERE key = 'change_seq'")
            ).one()
            values = {"model": model, "version": seq, **columns}
            marks = ", ".join("?" * len(values))
            await run(
                f"INSERT INTO prices ({', '.join(values)}) VALUES ({marks})", tuple(values.values())
            )
            await run(
                "INSERT INTO changes (seq, kind, id, model) VALUES (?, 0, 0, ?)", (seq, model)
            )

    async def all(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Rows of a query."""
        async with self.store.read() as connection:
            return [tuple(row) for row in await sql(connection, query, values)]

    async def one(self, query: str, *values: object) -> tuple[object, ...]:
        """Return the only row of a query."""
        (row,) = await self.all(query, *values)
        return row

    async def close(self) -> None:
        """Close the store, and take the arena out of shared memory."""
        attach.detach(self.settings)
        note = DataDir(self.settings.data_dir).note()
        if note is not None:
            orphaned_arenas.remove(Path(note.path))
        await self.store.close()
