"""Test that no host admits against a change that all applied, whatever happens; see ``play``."""

from typing import Any

import pytest

from nemorouter.cluster.membership import hosts
from nemorouter.cluster.membership.hosts import (
    ChangeWait,
    Host,
    HostLease,
    LeaseRequest,
    RegistryView,
    Silence,
    Step,
)
from tests.support.membership import registry as registry_model
from tests.support.membership.simulation import play


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(25), id="short"),
        pytest.param(range(1000, 2000), id="long", marks=pytest.mark.campaign),
    ],
)
def test_no_host_admits_against_what_all_applied(seeds: range) -> None:
    applied = 0
    admitted = 0
    refused = 0
    for seed in seeds:
        sim = play(seed)
        applied += len(sim.applied)
        admitted += sim.admitted
        refused += sim.refused
    assert applied > 40 * len(seeds), "the waiters hardly ever came to an end"
    assert admitted > refused, "the hosts hardly ever had a lease"


def forget_nothing(patch: pytest.MonkeyPatch) -> None:
    """Break a watcher: it does not notice that the data set is another one."""

    def note(self: Any, look: RegistryView, told_us: int) -> None:
        self._epoch = look.epoch
        plain(self, look, told_us)

    plain = Silence.note
    patch.setattr(Silence, "note", note)


def trust_a_new_epoch(patch: pytest.MonkeyPatch) -> None:
    plain = ChangeWait.see

    def see(self: ChangeWait, look: RegistryView, asked_us: int, told_us: int) -> Step:
        return plain(self, look._replace(mature=True), asked_us, told_us)

    patch.setattr(ChangeWait, "see", see)


def register_without_the_store(patch: pytest.MonkeyPatch) -> None:
    plain = HostLease.ask
    patch.setattr(
        HostLease, "ask", lambda self, caught_us, now_us, draw: plain(self, now_us, now_us, draw)
    )


def count_from_the_answer(patch: pytest.MonkeyPatch) -> None:
    """Break a host: it counts its lease from the answer."""
    plain = HostLease.answered

    def answered(
        self: HostLease, ask: LeaseRequest, look: RegistryView, sent_us: int, told_us: int
    ) -> bool:
        return plain(self, ask, look, told_us, told_us)

    patch.setattr(HostLease, "answered", answered)


def bury_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(hosts, "SILENCE_US", hosts.LEASE_US // 2)


def ignore_the_run(patch: pytest.MonkeyPatch) -> None:
    """Break a registry: it does not notice that a replica was promoted."""
    plain = registry_model.Model.promoted

    def promoted(self: registry_model.Model, run: str) -> registry_model.Model:
        other = plain(self, run)
        other.owner = run
        return other

    patch.setattr(registry_model.Model, "promoted", promoted)


def ignore_the_fence(patch: pytest.MonkeyPatch) -> None:
    """Break a waiter: it evicts a host that is late, though the host still gets renewals."""

    def over(self: Silence, host: Host, asked_us: int) -> bool:
        return asked_us - self._since > hosts.SILENCE_US

    patch.setattr(Silence, "over", over)
    plain = registry_model.Model._evict

    def evict(self: registry_model.Model, epoch: str, id: int, n: int) -> str | None:
        return plain(self, epoch, id, self.hosts[id].n) if id in self.hosts else None

    patch.setattr(registry_model.Model, "_evict", evict)


@pytest.mark.parametrize(
    "weaken",
    [
        forget_nothing,
        trust_a_new_epoch,
        register_without_the_store,
        count_from_the_answer,
        bury_at_once,
        ignore_the_run,
        ignore_the_fence,
    ],
)
def test_each_defence_is_needed(weaken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    weaken(monkeypatch)
    with pytest.raises(AssertionError, match="which was applied by all"):
        list(map(play, range(150)))
