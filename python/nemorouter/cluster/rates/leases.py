"""Carry the messages of the host's rate leases to the bank and back, in a task of the host's agent.

It must never end by an error, and never wait for one call before it makes the next. Without Redis
leases run out and the workers refuse, unless the host is set to go on with an offline share.
"""

import asyncio
import heapq
import secrets
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from redis.exceptions import RedisError

from nemorouter._core import Arena
from nemorouter.cluster.clock import BankClock
from nemorouter.cluster.rates.holder import Holder
from nemorouter.cluster.rates.memory import BankMemory
from nemorouter.cluster.rates.messages import TAGS, BucketAddress, RateRequest
from nemorouter.cluster.rates.offline_share import OfflineShare
from nemorouter.cluster.rates.redis_bank import RedisBank
from nemorouter.cluster.rates.terms import Terms
from nemorouter.errors import StoreError
from nemorouter.log import get_logger
from nemorouter.types import RATES

_CALLS: Final = 4  # under way at once; what comes meanwhile goes together
_BACKOFF_S: Final = (0.02, 0.05, 0.1, 0.2, 0.5)
_NOTE_AGAIN_US: Final = 500_000
_REPEAT_S: Final = 60.0  # the same trouble is logged this often

_SIZES: Final = ("leases", "tokens")

_log = get_logger(__name__)
_Lease = tuple[int, int]  # scope index, place of the rate in types.RATES


class Leases:
    """The rate leases of the host; call ``demand`` and ``run`` in one event loop."""

    def __init__(
        self,
        arena: Arena,
        bank: RedisBank,
        memory: BankMemory,
        terms: Terms,
        offline_share: float = 0.0,
    ) -> None:
        self._arena = arena
        self._bank = bank
        self._terms = terms
        self._share = offline_share
        self._memory = memory
        self._begun = False  # nothing is lent before the store knows the bank's first epochs
        self._note_at: int | None = 0  # when to tell the store of the epochs; None: it knows them
        self._offline: OfflineShare | None = None
        self._answered_us = (
            boot_us()
        )  # the newest answer: no lease is good for longer than its time after that
        self._holders: dict[_Lease, Holder] = {}
        self._agenda: list[tuple[int, _Lease]] = []
        self._next: dict[_Lease, int] = {}  # which of its entries in the agenda counts
        self._woken: set[_Lease] = set()
        self._clock = BankClock()
        self._awake = asyncio.Event()
        self._calls: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._pause_until = 0
        self._logged = float("-inf")
        self._syncs = 0
        self._lost = 0

    def demand(self, index: int, rate: int, need: int) -> None:
        """Ask for tokens: a request of ``need`` did not fit; 0: the lease is nearly used up."""
        if self._offline is not None:
            with suppress(
                RuntimeError
            ):  # its policy is being written: requests that wait ask again
                self._offline.serve(index, rate, need, boot_us())
            return
        lease = (index, rate)
        self._holder(lease).demand(need)
        self._woken.add(lease)
        self._awake.set()

    def counters(self) -> dict[str, float]:
        """Return the numbers of calls and messages since the start."""
        return {
            "lease_calls": self._bank.calls,
            "lease_syncs": self._syncs,
            "lease_syncs_lost": self._lost,
        }

    def sizes(self) -> dict[str, float]:
        """Return, by rate, how many leases the host may spend from now, and the tokens in them."""
        now = boot_us()
        sizes = {f"held_{rate.name}_{what}": 0.0 for rate in RATES for what in _SIZES}
        for index, number in list(self._holders):
            with suppress(RuntimeError):  # its policy is being written
                look = self._arena.lease(index, number)
                if now < look.until_us and look.granted > look.claimed:
                    sizes[f"held_{RATES[number].name}_leases"] += 1
                    sizes[f"held_{RATES[number].name}_tokens"] += look.granted - look.claimed
        return sizes

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until ``stopping``; then give back what is unspent."""
        for lease in self._arena.leased():
            if lease[1] < len(RATES):  # and not a lease of money
                self._plan(lease, self._holder(lease).next_look(boot_us()))
        while not stopping.is_set():
            try:
                self._turn()
            except Exception as error:
                # The next turn may do better. A lease that is not renewed runs out by itself.
                self._report(error)
            await self._pause()
        await self._finish()

    async def _pause(self) -> None:
        """Wait for demand or the next look; only for one tick while all calls are under way."""
        left = self._terms.tick
        may_call = self._begun and self._may_call()
        if self._agenda and may_call:
            left = min(left, max(1_000, self._agenda[0][0] - boot_us()))
        self._awake.clear()
        if not (self._woken and may_call):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._awake.wait(), left / 1e6)
        await asyncio.sleep(0)

    def _may_call(self) -> bool:
        return len(self._calls) < _CALLS and boot_us() >= self._pause_until

    def _turn(self) -> None:
        now = boot_us()
        if not self._may_call():
            return
        if self._offline is not None:
            if not self._calls:
                self._start(self._reconnect(self._offline))
            return
        if self._note_at is not None and now >= self._note_at:
            self._note_at = now + _NOTE_AGAIN_US
            self._start(self._note())
        if not self._begun:
            return
        due = self._woken
        self._woken = set()
        while self._agenda and self._agenda[0][0] <= now:
            when, lease = heapq.heappop(self._agenda)
            if self._next.get(lease) == when:
                due.add(lease)
        asks = [(lease, ask) for lease in due if (ask := self._ask(lease, now)) is not None]
        buckets = [self._bucket(lease) for lease, _ in asks]
        for batch in self._bank.batches(buckets):
            self._start(self._call([(*asks[at], buckets[at]) for at in batch]))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def _ask(self, lease: _Lease, now: int) -> RateRequest | None:
        holder = self._holders.get(lease)
        if holder is None:
            return None
        if holder.finished:
            del self._holders[lease], self._next[lease]
            return None
        try:
            ask = holder.ask(now, self._clock, _nonce())
        except RuntimeError:  # its policy is being written
            ask = None
        self._plan(lease, holder.next_look(now))
        return ask

    async def _call(self, asks: list[tuple[_Lease, RateRequest, BucketAddress]]) -> None:
        self._syncs += len(asks)
        try:
            async with asyncio.timeout(self._terms.ttl / 1e6):
                full_in = await self._memory.full_in([bucket for _, _, bucket in asks])
                named = [(bucket, ask) for _, ask, bucket in asks]
                theirs, replies = await self._bank.sync(named, full_in)
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error, asks)
            return
        now = boot_us()
        self._answered_us = now
        self._failures = 0
        self._clock.observe(theirs, now)
        for (lease, ask, _), reply in zip(asks, replies, strict=True):
            holder = self._holders.get(lease)
            if holder is not None and holder.asked is ask:
                holder.receive(reply, now)
        epochs = self._memory.epochs
        lost = any(
            reply.epoch != epochs[bucket.org % TAGS]
            for (_, _, bucket), reply in zip(asks, replies, strict=True)
        )
        if lost and self._note_at is None:
            self._note_at = now
        self._awake.set()

    async def _note(self) -> None:
        """Let every epoch of a bank that is new or lost its data begin now, and note them all.

        Until that is done, buckets that the bank does not know begin empty.
        """
        try:
            async with asyncio.timeout(self._terms.ttl / 1e6):
                await self._memory.note(await self._bank.begin())
        except StoreError as error:  # Redis is there: no reason to go on without it
            self._report(error)
            return
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error, [])
            return
        self._begun = True
        self._note_at = None
        self._awake.set()

    def _disconnect(self, now: int) -> None:
        """Begin to serve the offline share: Redis is away, and every lease is over."""
        _log.warning("leases_disconnected", share=self._share)
        self._offline = OfflineShare(self._arena, self._terms, self._share, now)
        self._holders.clear()
        self._next.clear()
        self._agenda.clear()

    async def _reconnect(self, share: OfflineShare) -> None:
        """If Redis is back: spend nothing more of the share, and owe the bank what was spent."""
        try:
            async with asyncio.timeout(self._terms.ttl / 1e6):
                await self._bank.begin()
            now = boot_us()
            owed = {lease: share.owed(*lease, now) for lease in share.leases}
        except (RedisError, OSError, TimeoutError, RuntimeError) as error:
            self._failed(error, [])
            return
        for lease, tokens in owed.items():
            epoch = self._memory.epochs[self._bucket(lease).org % TAGS]
            self._holders[lease] = Holder(
                self._arena, *lease, self._terms, _nonce(), now, tokens, epoch
            )
            self._plan(lease, now)
        self._offline = None
        self._answered_us = now
        self._failures = 0
        self._note_at = now
        _log.warning("leases_reconnected", owed=sum(owed.values()))
        self._awake.set()

    def _failed(
        self, error: Exception, asks: list[tuple[_Lease, RateRequest, BucketAddress]]
    ) -> None:
        self._lost += len(asks)
        for lease, ask, _ in asks:
            holder = self._holders.get(lease)
            if holder is not None and holder.asked is ask:
                holder.lost()
        self._pause_until = boot_us() + int(
            _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)] * 1e6
        )
        self._failures += 1
        self._report(error)
        over = boot_us() - self._answered_us >= self._terms.ttl
        if self._share and self._offline is None and over:
            self._disconnect(boot_us())

    def _report(self, error: Exception) -> None:
        if time.monotonic() - self._logged > _REPEAT_S:
            self._logged = time.monotonic()
            _log.error("leases_failed", reason=f"{type(error).__name__}: {error}")

    async def _finish(self) -> None:
        """Give unspent tokens back to the bank, so that others need not wait until they run out."""
        if self._calls:
            await asyncio.wait(self._calls, timeout=self._terms.ttl / 1e6)
        asks: list[tuple[_Lease, RateRequest, BucketAddress]] = []
        for lease, holder in self._holders.items():
            with suppress(RuntimeError):
                ask = holder.resign(boot_us(), self._clock)
                if ask is not None:
                    asks.append((lease, ask, self._bucket(lease)))
        for batch in self._bank.batches([bucket for _, _, bucket in asks]):
            if self._may_call():
                await self._call([asks[at] for at in batch])

    def _holder(self, lease: _Lease) -> Holder:
        holder = self._holders.get(lease)
        if holder is None:
            holder = Holder(self._arena, *lease, self._terms, _nonce(), boot_us())
            self._holders[lease] = holder
        return holder

    def _bucket(self, lease: _Lease) -> BucketAddress:
        scope = self._arena.identity(lease[0])
        return BucketAddress(scope.kind, scope.id, scope.org or scope.id, lease[1])

    def _plan(self, lease: _Lease, when: int) -> None:
        self._next[lease] = when
        heapq.heappush(self._agenda, (when, lease))


def boot_us() -> int:
    """Read the boot clock in microseconds: the arena's clock."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def _nonce() -> int:
    return secrets.randbits(63)
