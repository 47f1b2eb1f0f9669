"""Know of which buckets the bank cannot have forgotten anything, so that they begin full.

A bucket that the bank does not know begins empty, because its balance may have been lost with the
bank's data. Nothing of two kinds of bucket can have been lost: of all those of the installation's
first epoch, and of those of a scope that was made after the present epoch had begun. No clock
decides which scope is younger: an epoch is read from the bank before the number of the newest
change is read from the store, so a scope that was made by a later change is younger than the epoch.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from nemorouter.cluster.rates.messages import TAGS, BucketAddress
from nemorouter.errors import StoreError
from nemorouter.log import get_logger
from nemorouter.store.engine import Store
from nemorouter.store.epochs import note_first_epochs
from nemorouter.store.policies import change_seq, first_versions
from nemorouter.types import Kind

_STORE_S: Final = 0.25
"""The time for which a call to the bank may wait for the store, in seconds."""

_log = get_logger(__name__)
_Scope = tuple[Kind, int]


class BankMemory:
    """The present epochs of the bank, and which scopes are younger.

    ``epochs`` are by hash tag; 0 where none is known.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.epochs: Sequence[int] = [0] * TAGS
        self._first: Sequence[int] = [0] * TAGS
        self._change = 0  # the newest when the present epochs were known to have begun
        self._young: dict[_Scope, bool] = {}

    async def note(self, epochs: Sequence[int]) -> None:
        """Take over ``epochs``, which the bank has just answered.

        The first that the store is told of stay the installation's first. StoreError: nothing
        was noted.
        """
        async with self._store.read() as connection:
            change = await change_seq(connection)
        async with self._store.begin() as connection:
            first = await note_first_epochs(connection, epochs)
        self.epochs = epochs
        self._first = first
        self._change = change
        self._young.clear()

    async def full_in(self, buckets: Sequence[BucketAddress]) -> list[int]:
        """Return, for each bucket, the epoch in which it begins full if the bank does not know it.

        0: it begins empty, as it does where the store does not answer in time.
        """
        later = [bucket for bucket in buckets if not self._in_first_epoch(bucket)]
        await self._find_young({(Kind(bucket.kind), bucket.id) for bucket in later})
        return [self._full_in(bucket) for bucket in buckets]

    def _in_first_epoch(self, bucket: BucketAddress) -> bool:
        tag = bucket.org % TAGS
        return self.epochs[tag] == self._first[tag]

    def _full_in(self, bucket: BucketAddress) -> int:
        young = self._young.get((Kind(bucket.kind), bucket.id), False)
        return self.epochs[bucket.org % TAGS] if young or self._in_first_epoch(bucket) else 0

    async def _find_young(self, scopes: Iterable[_Scope]) -> None:
        unknown = [scope for scope in scopes if scope not in self._young]
        if not unknown:
            return
        change = self._change
        try:
            async with asyncio.timeout(_STORE_S), self._store.read() as connection:
                found = await first_versions(connection, unknown)
        except (StoreError, TimeoutError) as error:
            _log.warning("scopes_not_dated", reason=f"{type(error).__name__}: {error}")
            found = {}
        if change == self._change:  # and no epoch was noted meanwhile
            self._young |= {scope: found.get(scope, 0) > change for scope in unknown}
