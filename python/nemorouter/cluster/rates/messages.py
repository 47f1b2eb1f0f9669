"""Define the messages between a host and the bank of rate leases, and the bank's bucket names.

Pure values: the agent sends them to Redis, the simulation to a model. Amounts are whole tokens,
times microseconds. A token of a bucket is one request where its rate counts requests.
"""

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from nemorouter.types import RATES, Kind

TAGS: Final = 256
"""Hash tags over which orgs are spread: all buckets of an org, and its epoch, lie in one slot of a
Redis Cluster.
"""
BATCH: Final = 64
"""Most buckets in one call, so that none holds Redis for long."""
_NUMBERS: Final = 8  # in the answer, per bucket


class BucketAddress(msgspec.Struct, frozen=True):
    """One rate limit of one scope."""

    kind: int
    id: int
    org: int
    rate: int  # place in types.RATES

    def keys(self, prefix: str, day: str) -> tuple[str, str, str]:
        """Return the names of the epoch, the bucket, and the counters of use of that day."""
        tag = f"{prefix}:{{{self.org % TAGS}}}"
        scope = f"{Kind(self.kind).name.lower()}:{self.id}"
        return (
            f"{tag}:epoch",
            f"{tag}:bucket:{scope}:{RATES[self.rate].name}",
            f"{tag}:use:{day}:{scope}",
        )


class RateRequest(msgspec.Struct, frozen=True):
    """A holder's report of what it holds, and its request for more.

    ``place``, ``spent`` and ``refunded`` count since its nonce began.
    """

    nonce: int
    sequence: int
    epoch: int  # of the last reply; 0 = none yet
    place: int  # granted, less what was given back
    spent: int  # of that; more than ``place`` is debt
    refunded: int
    refunded_at: (
        int  # by the bank's clock, no later than the first refund of which it has not heard
    )
    need: int  # less than this is of no use; 0 = anything
    demand: int  # what requests wait for now
    target: int  # with what may soon be needed
    bye: bool  # nothing is left to report for now
    limit: int  # tokens in a period
    period: int
    burst: int
    version: int

    def arguments(self) -> list[str]:
        """Return the values in the order in which the script reads them."""
        return [str(int(getattr(self, name))) for name in self.__struct_fields__]


class RateReply(msgspec.Struct, frozen=True):
    """The bank's entry for the holder after its ``sequence``."""

    sequence: int
    epoch: int
    place: int
    balance: int  # negative while in debt
    wait: int  # until ``need`` is there if no other host takes any; -1 = never
    pressed: bool  # another holder was starved lately
    chunk: int  # what may lie at one holder unasked
    others: int  # what other holders may still spend
    void: bool = (
        False  # what this holder held unspent is void: its lease had run out before it asked
    )


def replies(numbers: Sequence[int | bytes]) -> tuple[int, list[RateReply]]:
    """Return the bank's time, and its replies in the order of the requests."""
    flat = [int(number) for number in numbers]
    batches = [flat[at : at + _NUMBERS] for at in range(1, len(flat), _NUMBERS)]
    return flat[0], [_reply(*batch) for batch in batches]


def _reply(
    sequence: int,
    epoch: int,
    place: int,
    balance: int,
    wait: int,
    flags: int,
    chunk: int,
    others: int,
) -> RateReply:
    return RateReply(
        sequence, epoch, place, balance, wait, bool(flags & 1), chunk, others, bool(flags & 2)
    )


def day_of(wall_s: float) -> str:
    """Return the UTC day under which use is counted."""
    return time.strftime("%Y-%m-%d", time.gmtime(wall_s))
