"""Call the bank of rate leases in Redis: requests in, replies out, up to 64 buckets a call.

A call whose outcome is unknown is settled by the caller's next request. A call that the client
repeats changes nothing more, since the bank knows it by its sequence.
"""

import time
from collections.abc import Sequence
from typing import Any

from redis.asyncio.cluster import RedisCluster

from nemorouter.cluster.rates.messages import (
    BATCH,
    TAGS,
    BucketAddress,
    RateReply,
    RateRequest,
    day_of,
    replies,
)
from nemorouter.cluster.rates.terms import Terms
from nemorouter.cluster.scripts import Script


class RedisBank:
    """``prefix`` begins the name of every key; ``share`` of a burst may lie unspent in leases."""

    def __init__(self, client: Any, prefix: str, terms: Terms, *, share: float = 0.05) -> None:  # noqa: ANN401
        self._client = client
        self._prefix = prefix
        self._terms = terms
        self._spread = isinstance(client, RedisCluster)  # a call there may touch one hash tag
        self._share = str(round(share * 1000))
        self._sync = Script("sync")
        self._epochs = Script("epoch")
        self.calls = 0

    def batches(self, buckets: Sequence[BucketAddress]) -> list[list[int]]:
        """Places of ``buckets`` that fit into one call each."""
        batches: dict[int, list[int]] = {}
        for place, bucket in enumerate(buckets):
            batches.setdefault(bucket.org % TAGS if self._spread else 0, []).append(place)
        return [
            batch[at : at + BATCH]
            for batch in batches.values()
            for at in range(0, len(batch), BATCH)
        ]

    async def sync(
        self, asks: Sequence[tuple[BucketAddress, RateRequest]], full_in: Sequence[int]
    ) -> tuple[int, list[RateReply]]:
        """Send one batch, and return the bank's time and its replies.

        ``full_in``: for each bucket the epoch in which it begins full if the bank does not know
        it, or 0. redis.RedisError, OSError: nobody knows whether the batch arrived.
        """
        self.calls += 1
        day = day_of(time.time())
        keys = [key for bucket, _ in asks for key in bucket.keys(self._prefix, day)]
        numbers = [
            argument
            for (_, ask), full in zip(asks, full_in, strict=True)
            for argument in (*ask.arguments(), str(full))
        ]
        answer = await self._sync.run(
            self._client, keys, ["0", str(self._terms.ttl), self._share, *numbers]
        )
        return replies(answer)

    async def begin(self) -> list[int]:
        """Let all epochs begin that have not begun; return all of them.

        What is counted later is then known to be new.
        """
        names = [f"{self._prefix}:{{{tag}}}:epoch" for tag in range(TAGS)]
        found: list[int] = []
        for batch in [[name] for name in names] if self._spread else [names]:
            self.calls += 1
            found += [int(epoch) for epoch in await self._epochs.run(self._client, batch, [])]
        return found
