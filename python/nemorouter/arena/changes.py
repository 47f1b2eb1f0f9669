"""The store's changes, applied to an arena in the order of their numbers.

No change may stop those behind it: one that cannot be applied is set aside and named. What it is
about is refused from then on, so that an older policy or price never goes on. Every function is
called under ``policy.lock``.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter import ids
from nemorouter._core import Arena
from nemorouter.datadir import set_aside
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.set_aside import Item, Queue
from nemorouter.store.engine import Store
from nemorouter.store.policies import (
    Change,
    Unreadable,
    all_policies,
    all_prices,
    changes_since,
    policies_of,
    prices_of,
)
from nemorouter.store.schema import PRICE_CHANGE
from nemorouter.types import Kind, ModelPrice, Policy

_BATCH: Final = 10_000  # changes read at once
_CHUNK: Final = 4096  # policies written by one call
_DIGEST_BYTES: Final = 32
_KINDS: Final = frozenset(int(kind) for kind in Kind)


class Failures:
    """Collect what an arena cannot hold, and make the arena refuse it."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self.items: dict[str, Item] = {}
        """By name."""
        self.no_room: OSError | None = None
        """Why the file system refused room, if it did: that is the fault of no single item."""

    def scope(self, kind: Kind, id: int, digest: bytes, error: Exception) -> None:
        """Note a scope whose policy cannot be read or put, and close it."""
        if kind is not Kind.KEY or len(digest) == _DIGEST_BYTES:
            index = self._arena.find(kind, id, digest)
            if index is not None:
                self._arena.close(index)
        self._add(Item(_scope_name(kind, id), str(error), kind=kind, id=id), error)

    def row(self, found: Unreadable) -> None:
        """Note a scope whose row is no policy."""
        self.scope(*found)

    def price(self, model: str, error: Exception) -> None:
        """Note a price that cannot be put, and remove the one before it."""
        self._arena.remove_price(model)
        self._add(Item(_price_name(model), str(error)), error)

    def unknown(self, change: Change) -> None:
        """Note a change that only a newer version understands."""
        error = ValueError("this version does not know such a change")
        self._add(Item(_name(change), str(error)), error)

    def _add(self, item: Item, error: Exception) -> None:
        self.items[item.name] = item
        if isinstance(error, OSError):
            self.no_room = error


async def apply_changes(arena: Arena, store: Store, data: DataDir) -> None:
    """Apply every change that the store committed before this call; set aside what cannot be."""
    while True:
        async with store.read() as connection:
            changes = await changes_since(connection, arena.applied, _BATCH)
            if not changes:
                return
            failures = Failures(arena)
            tried = await _apply(arena, connection, changes, failures)
        _note(data, failures, tried, {_name(change): change.seq for change in changes})
        arena.applied = changes[-1].seq  # only now: what it lacks has a name
        if len(changes) < _BATCH:
            return


async def fill(arena: Arena, connection: AsyncConnection, data: DataDir) -> Failures:
    """Write all policies and prices that the arena lacks; set aside what does not fit."""
    failures = Failures(arena)
    async for policies in all_policies(connection, failures.row):
        _put_policies(arena, policies, failures)
    _put_prices(arena, await all_prices(connection), failures)
    if failures.no_room is None:
        set_aside.replace(data, Queue.CHANGES, list(failures.items.values()))
    return failures


async def retry(arena: Arena, store: Store, data: DataDir, *, everything: bool = False) -> None:
    """Try again what is set aside. ``everything``: look also for what the list had no place for."""
    kept = set_aside.read(data, Queue.CHANGES)
    if not kept.total:
        return
    async with store.read() as connection:
        if everything and kept.unlisted:
            await fill(arena, connection, data)
            return
        failures = Failures(arena)
        for kind in Kind:
            wanted = [item.id for item in kept.items if item.kind == kind]
            policies = await policies_of(connection, kind, wanted, failures.row)
            _put_policies(arena, policies, failures)
        prices = await all_prices(connection)
        _put_prices(arena, prices, failures)
    known = {_price_name(entry.model) for entry in prices}
    tried = known | {item.name for item in kept.items if item.kind}
    _note(data, failures, tried, {})


async def _apply(
    arena: Arena, connection: AsyncConnection, changes: Sequence[Change], failures: Failures
) -> set[str]:
    """Write what the changed scopes and prices are now; answer the names of all that was tried."""
    wanted: dict[int, set[int]] = {}
    for change in changes:
        wanted.setdefault(change.kind, set()).add(change.id)
        if change.kind != PRICE_CHANGE and change.kind not in _KINDS:
            failures.unknown(change)
    for kind in Kind:  # owners before what they own
        some = sorted(wanted.get(kind, ()))
        _put_policies(arena, await policies_of(connection, kind, some, failures.row), failures)
    models = {change.model or "" for change in changes if change.kind == PRICE_CHANGE}
    prices = await prices_of(connection, sorted(models))
    removed = models.difference(entry.model for entry in prices)
    for model in removed:
        arena.remove_price(model)
    if removed:  # there may be room for others now
        prices = await all_prices(connection)
    _put_prices(arena, prices, failures)
    return {_name(change) for change in changes} | {_price_name(entry.model) for entry in prices}


def _put_policies(arena: Arena, policies: Sequence[Policy], failures: Failures) -> None:
    """Write policies, in their order, and note those that the arena cannot hold."""
    for start in range(0, len(policies), _CHUNK):
        some = policies[start : start + _CHUNK]
        try:
            arena.put_many(some)
        except (MemoryError, OSError, ValueError):
            for entry in some:  # those before the first bad one again, which changes nothing
                try:
                    arena.put(entry)
                except (MemoryError, OSError, ValueError) as error:
                    failures.scope(Kind(entry.kind), entry.id, entry.digest, error)


def _put_prices(arena: Arena, prices: Sequence[ModelPrice], failures: Failures) -> None:
    for entry in prices:
        try:
            arena.put_price(entry)
        except (MemoryError, ValueError) as error:
            failures.price(entry.model, error)


def _note(
    data: DataDir, failures: Failures, tried: Collection[str], numbers: Mapping[str, int]
) -> None:
    """Set aside what failed, with the number of its change; the rest of what was tried is well."""
    items = failures.items.values()
    added = [msgspec.structs.replace(item, seq=numbers.get(item.name, 0)) for item in items]
    set_aside.update(data, Queue.CHANGES, added, tried)


def _name(change: Change) -> str:
    """Name what a change is about, uniquely among all that may be set aside."""
    if change.kind == PRICE_CHANGE:
        return _price_name(change.model or "")
    if change.kind in _KINDS:
        return _scope_name(Kind(change.kind), change.id)
    return f"change {change.seq} of kind {change.kind}"


def _scope_name(kind: Kind, id: int) -> str:
    return ids.to_text(kind.name.lower(), id)


def _price_name(model: str) -> str:
    return f"the price of {model}"
