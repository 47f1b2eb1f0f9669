"""Who may admit, and when a change is applied by all: the decisions, without any input or output.
Time is a parameter.

A host may admit for ``LEASE_US`` after it sent a renewal that was granted. Who waits for a change
never trusts a clock of another machine: it watches by its own that no renewal is granted for long
enough. Times are microseconds.
"""

from typing import Final, NamedTuple

LEASE_US: Final = 5_000_000
"""How long a host admits after it sent a renewal that was granted. One number for all hosts, for
ever.
"""
MARGIN_US: Final = 250_000
"""What a waiter waits longer: clocks run at slightly different rates, and an admission takes a
moment.
"""
SILENCE_US: Final = LEASE_US + MARGIN_US
"""After so long without a renewal a host admits nothing any more."""
GRACE_US: Final = 200_000
"""How long a host may be late before its renewals are refused."""
RENEW_US: Final = 1_000_000
"""How often a host renews its lease, and looks into the store by itself."""


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
    mature: bool  # whoever held a lease before this epoch holds it no more, or is registered
    announced: int
    now_us: int  # Redis's clock
    hosts: tuple[Host, ...]
    delays: dict[str, int] = {}  # noqa: RUF012 - a field of a tuple; never changed


class Silence:
    """What one watcher knows of the time for which a host got no renewal, and for which an epoch
    has lasted.

    ``asked_us`` and ``told_us`` are the watcher's own clock before and after each look: a silence
    is counted from after the first look to before the last, so it is never longer than it was.
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
            self._epoch, self._since, self._hosts = look.epoch, told_us, {}
        known = self._hosts
        self._hosts = {
            host.id: known[host.id]
            if known.get(host.id, (-1, 0))[0] == host.renewals
            else (host.renewals, told_us)
            for host in look.hosts
        }

    def over(self, host: Host, asked_us: int) -> bool:
        """Did the lease of ``host`` end? Only if the look that began at ``asked_us`` still saw it,
        it did.
        """
        renewals, since = self._hosts.get(host.id, (-1, asked_us))
        return renewals == host.renewals and asked_us - since >= SILENCE_US

    def ripe(self, look: RegistryView, asked_us: int) -> bool:
        """Did every lease end that was given before this epoch?"""
        return look.epoch == self._epoch and asked_us - self._since >= SILENCE_US


class Step(NamedTuple):
    """What a waiter must do next."""

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
    """What a host asks of the registry next: ``register`` or ``renew``."""

    what: str
    token: str


class HostLease:
    """A host's own side: until when it may admit, and how it comes to a lease.

    It registers, which makes every change from then on wait for it; then it looks into the store,
    for what was changed before; only then is it granted a lease. Who held a lease all the while
    knows those changes already. A registration is good for as long as nobody can have evicted it
    out.
    """

    def __init__(self) -> None:
        self.until_us = 0  # may admit until then
        self.reason = "it has not registered yet"
        self._token = ""  # of the registration
        self._known_until = 0  # until then nobody can have evicted it
        self._registered_us = 0
        self._fresh = False  # the store must be read first, from after the registration

    def ask(self, caught_us: int, now_us: int, draw: str) -> LeaseRequest | None:
        """What to ask now; None: first read the store. ``caught_us``: when the newest reading that
        went well began.

        ``draw`` is a random text, to be used for one call only.
        """
        if now_us >= self._known_until:
            self._token = ""
        if not self._token:
            return LeaseRequest("register", draw)
        if self._fresh and caught_us < self._registered_us:
            return None
        return LeaseRequest("renew", self._token)

    def answered(self, ask: LeaseRequest, look: RegistryView, sent_us: int, told_us: int) -> bool:
        """Take the answer to ``ask``, sent at ``sent_us``, that came at ``told_us``; True: a lease
        was granted.
        """
        if ask.what == "register":
            self._token, self._registered_us, self._known_until = (
                ask.token,
                told_us,
                sent_us + LEASE_US,
            )
            self._fresh = not self.held(told_us)
            self.reason = self.reason or "it has registered anew"
            return False
        if ask.token != self._token or told_us >= self._known_until:
            return False  # too late: it may have been evicted and forgotten meanwhile
        if look.verdict == "granted":
            self.until_us = self._known_until = max(self.until_us, sent_us + LEASE_US)
            self._fresh, self.reason = False, ""
            return True
        if look.verdict == "unknown":
            self._token = ""
        self.reason = f"change {look.announced} is not applied here yet"
        return False

    def held(self, now_us: int) -> bool:
        """May the host admit?"""
        return now_us < self.until_us
