"""Decide which hosts may admit, and when all hosts have applied a change.

Pure: no input and no output, and time is a parameter in microseconds. A host may admit for
``LEASE_US`` after it sent a renewal that was granted. A process that waits for a change never
trusts the clock of another machine: it measures by its own clock that no renewal was granted for
long enough.
"""

from typing import Final, NamedTuple

LEASE_US: Final = 5_000_000
"""The time for which a host admits after it sent a renewal that was granted.

All hosts of all versions must have the same value.
"""
MARGIN_US: Final = 250_000
"""The time for which a waiter waits longer than a lease.

Clocks run at slightly different rates, and an admission takes a moment.
"""
SILENCE_US: Final = LEASE_US + MARGIN_US
"""After so long without a renewal a host admits nothing any more."""
GRACE_US: Final = 200_000
"""The time for which a host may be late before its renewals are refused."""
RENEW_US: Final = 1_000_000
"""The interval in which a host renews its lease, and reads the store unasked."""


class Host(NamedTuple):
    """A host as the registry knows it."""

    id: int
    name: str
    applied: int  # it applies all changes up to here
    renewals: int  # how many were granted
    fence: int  # without this change it gets no renewal
    seen_us: int  # by Redis's clock: to be shown, never to be decided by
    about: str = ""  # what it tells of itself, as JSON


class RegistryView(NamedTuple):
    """The registry at one instant, and what became of the step that looked."""

    verdict: str
    epoch: str
    mature: bool  # each host that held a lease before this epoch has lost it, or is registered
    announced: int
    now_us: int  # Redis's clock
    hosts: tuple[Host, ...]
    delays: dict[str, int] = {}  # noqa: RUF012 - a field of a tuple; never changed


class Silence:
    """One watcher's measure of how long hosts got no renewal, and an epoch has lasted.

    ``asked_us`` and ``told_us`` are the watcher's own clock before and after each look. A silence
    counts from after the first look to before the last, so it is never taken for longer than it
    was.
    """

    def __init__(self) -> None:
        self._epoch = ""
        self._since = 0
        self._hosts: dict[
            int, tuple[int, int]
        ] = {}  # id → renewals, and since when they stood there

    def note(self, look: RegistryView, told_us: int) -> None:
        """Remember what is new in ``look``."""
        if look.epoch != self._epoch:  # renewals may have been forgotten: begin anew
            self._epoch = look.epoch
            self._since = told_us
            self._hosts = {}
        known = self._hosts
        self._hosts = {
            host.id: known[host.id]
            if known.get(host.id, (-1, 0))[0] == host.renewals
            else (host.renewals, told_us)
            for host in look.hosts
        }

    def over(self, host: Host, asked_us: int) -> bool:
        """Return whether the lease of ``host`` has ended by the look that began at ``asked_us``.

        That look must have listed the host, without a renewal since an earlier one.
        """
        renewals, since = self._hosts.get(host.id, (-1, asked_us))
        return renewals == host.renewals and asked_us - since >= SILENCE_US

    def ripe(self, look: RegistryView, asked_us: int) -> bool:
        """Return whether every lease that was given before this epoch has ended."""
        return look.epoch == self._epoch and asked_us - self._since >= SILENCE_US


class Step(NamedTuple):
    """The next actions of a process that waits for a change."""

    done: bool  # every host applies the change, or admits nothing
    fence: tuple[int, ...]  # announce again, so that these get no renewal without it
    evict: tuple[Host, ...]  # their leases are over
    mature: bool  # tell that the epoch is old enough
    missing: tuple[str, ...]  # whose answer is wanted


class ChangeWait:
    """The wait for all hosts to apply the change ``sequence``."""

    def __init__(self, sequence: int, begun_us: int) -> None:
        self._sequence = sequence
        self._begun = begun_us
        self._silence = Silence()

    def see(self, look: RegistryView, asked_us: int, told_us: int) -> Step:
        """Judge a look that was asked for at ``asked_us`` and came at ``told_us``."""
        self._silence.note(look, told_us)
        late = [host for host in look.hosts if host.applied < self._sequence]
        patient = asked_us - self._begun < GRACE_US
        return Step(
            done=look.mature and look.announced >= self._sequence and not late,
            fence=() if patient else tuple(host.id for host in late if host.fence < self._sequence),
            evict=tuple(host for host in late if self._silence.over(host, asked_us)),
            mature=not look.mature and self._silence.ripe(look, asked_us),
            missing=tuple(host.name for host in late),
        )


class LeaseRequest(NamedTuple):
    """The next request of a host to the registry: ``register`` or ``renew``."""

    what: str
    token: str


class HostLease:
    """A host's own lease: until when it may admit, and how it gets one.

    A host registers, which makes every change from then on wait for it. Then it reads the store for
    what was changed before. Only then is it granted a lease. A host that held a lease all the while
    knows those changes already. A registration is valid for as long as no other host can have
    evicted it.
    """

    def __init__(self) -> None:
        self.until_us = 0  # may admit until then
        self.reason = "it has not registered yet"
        self._token = ""  # of the registration
        self._known_until = 0  # until then no other host can have evicted it
        self._registered_us = 0
        self._fresh = False  # the store must be read first, from after the registration

    def ask(self, caught_us: int, now_us: int, draw: str) -> LeaseRequest | None:
        """Return the next request to the registry; None: the store must be read first.

        ``caught_us`` is when the newest successful reading of the store began. ``draw`` is a random
        text that is used for one call only.
        """
        if now_us >= self._known_until:
            self._token = ""
        if not self._token:
            return LeaseRequest("register", draw)
        if self._fresh and caught_us < self._registered_us:
            return None
        return LeaseRequest("renew", self._token)

    def answered(self, ask: LeaseRequest, look: RegistryView, sent_us: int, told_us: int) -> bool:
        """Apply the answer to ``ask``, sent at ``sent_us``, received at ``told_us``.

        Return True if a lease was granted.
        """
        if ask.what == "register":
            self._token = ask.token
            self._registered_us = told_us
            self._known_until = sent_us + LEASE_US
            self._fresh = not self.held(told_us)
            self.reason = self.reason or "it has registered anew"
            return False
        if ask.token != self._token or told_us >= self._known_until:
            return False  # too late: it may have been evicted and forgotten meanwhile
        if look.verdict == "granted":
            self.until_us = max(self.until_us, sent_us + LEASE_US)
            self._known_until = self.until_us
            self._fresh = False
            self.reason = ""
            return True
        if look.verdict == "unknown":
            self._token = ""
        self.reason = f"change {look.announced} is not applied here yet"
        return False

    def held(self, now_us: int) -> bool:
        """Return whether the host may admit."""
        return now_us < self.until_us
