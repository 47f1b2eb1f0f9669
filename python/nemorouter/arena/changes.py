"""The store's changes, applied to an arena in the order of their numbers. It must never skip one.

Whoever calls it holds ``policy.lock``.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter._core import Arena
from nemorouter.errors import ConfigurationError
from nemorouter.log import get_logger
from nemorouter.store.engine import Store
from nemorouter.store.policies import Change, all_policies, changes_since, policy, price
from nemorouter.store.schema import PRICE_CHANGE
from nemorouter.types import Policy

_BATCH: Final = 10_000  # changes read at once
_BULK: Final = 2000  # changed scopes from which reading all policies is cheaper than one by one

_log = get_logger(__name__)


class _Failure(NamedTuple):
    """Why a policy found no place, and whether the arena holds an older state of it."""

    error: Exception
    older: bool


class Applied(NamedTuple):
    """How far the arena obeys the store, and why the newest change found no place in it, if so."""

    obeyed: int
    newest: "_Failure | None" = None

    def check(self) -> None:
        """ConfigurationError when the newest change does not fit: it is most likely the caller's."""
        if self.newest is not None:
            reason = self.newest.error
            raise ConfigurationError(
                f"The arena has no room for it ({reason}). Raise capacity and restart all servers."
            )


async def apply_changes(arena: Arena, store: Store) -> Applied:
    """Apply changes in order; ``policy.lock`` is held. One that does not fit stops none of the
    others, and is kept.
    """
    done, stuck, disobeyed = arena.applied, 0, 0
    while True:
        async with store.read() as connection:
            changes = await changes_since(connection, done, _BATCH)
            policies = await _policies(connection, changes)
            models = {
                change.model for change in changes if change.kind == PRICE_CHANGE and change.model
            }
            prices = [await price(connection, model) for model in sorted(models)]
        if not changes:
            return Applied(disobeyed - 1 if disobeyed else done)
        failed = _put_all(arena, policies)
        for entry in prices:
            if entry is not None:
                arena.put_price(entry)
        done = changes[-1].seq
        places = {change.seq: failed.get((change.kind, change.id)) for change in changes}
        disobeyed = disobeyed or min(
            (seq for seq, failure in places.items() if failure and failure.older), default=0
        )
        if not stuck:
            stuck = min((seq for seq, failure in places.items() if failure), default=0)
            arena.applied = stuck - 1 if stuck else done
        if len(changes) < _BATCH:
            return Applied(disobeyed - 1 if disobeyed else done, places[done])


async def _policies(connection: AsyncConnection, changes: Sequence[Change]) -> list[Policy]:
    """What the changed scopes are now, owners before what they own (as the numbers of ``Kind``
    ascend).
    """
    wanted = {(change.kind, change.id) for change in changes if change.kind != PRICE_CHANGE}
    if len(wanted) < _BULK:
        found = [await policy(connection, kind, id) for kind, id in sorted(wanted)]
        return [entry for entry in found if entry is not None]
    lots = [lot async for lot in all_policies(connection)]
    return [entry for lot in lots for entry in lot if (entry.kind, entry.id) in wanted]


def _put_all(arena: Arena, policies: Sequence[Policy]) -> dict[tuple[int, int], _Failure]:
    """Write policies one by one; answer those that could not be."""
    failed: dict[tuple[int, int], _Failure] = {}
    for entry in policies:
        try:
            arena.put(entry)
        except (MemoryError, OSError, ValueError) as error:
            older = arena.find(entry.kind, entry.id, entry.digest) is not None
            failed[entry.kind, entry.id] = _Failure(error, older)
    if failed:
        _log.error(
            "policies_not_applied", count=len(failed), reason=str(next(iter(failed.values())).error)
        )
    return failed
