"""The decisions of host and waiter, one by one. Times are microseconds of whoever decides."""

from nemorouter.cluster.membership.hosts import (
    GRACE_US,
    LEASE_US,
    SILENCE_US,
    ChangeWait,
    Host,
    HostLease,
    LeaseRequest,
    RegistryView,
    Silence,
)

BEGUN = 1_000_000


def look(
    *hosts: Host, verdict: str = "", epoch: str = "one", mature: bool = True, announced: int = 7
) -> RegistryView:
    return RegistryView(verdict, epoch, mature, announced, 0, hosts)


def host(applied: int, renewals: int = 1, id: int = 5, fence: int = 0) -> Host:
    return Host(id, f"host {id}", applied, renewals, fence, 0)


def granted(lease: HostLease, now: int, caught: int) -> bool:
    ask = lease.ask(caught, now, "t")
    assert ask is not None
    return lease.answered(ask, look(verdict="granted"), now, now + 10)


def test_a_host_registers_then_reads_the_store_then_admits() -> None:
    lease = HostLease()
    first = lease.ask(0, BEGUN, "token")
    assert first == LeaseRequest("register", "token")
    assert not lease.answered(first, look(verdict="registered"), BEGUN, BEGUN + 10)
    assert lease.ask(BEGUN + 9, BEGUN + 20, "other") is None, (
        "that reading began before the registration was known"
    )
    assert lease.ask(BEGUN + 10, BEGUN + 20, "other") == LeaseRequest("renew", "token")
    assert granted(lease, BEGUN + 20, BEGUN + 10)
    assert lease.held(BEGUN + 20 + LEASE_US - 1)
    assert not lease.held(BEGUN + 20 + LEASE_US)


def test_who_holds_a_lease_need_not_read_the_store_to_register_anew() -> None:
    lease = HostLease()
    lease.until_us = BEGUN + LEASE_US
    ask = lease.ask(0, BEGUN, "token")
    assert ask is not None
    lease.answered(ask, look(verdict="registered"), BEGUN, BEGUN + 10)
    assert lease.ask(0, BEGUN + 20, "other") == LeaseRequest("renew", "token")


def test_a_lease_counts_from_when_it_was_asked_for() -> None:
    lease = HostLease()
    ask = LeaseRequest("register", "t")
    lease.answered(ask, look(verdict="registered"), 0, 10)
    renew = LeaseRequest("renew", "t")
    assert lease.answered(renew, look(verdict="granted"), 20, 4_000_000)
    assert lease.until_us == 20 + LEASE_US


def test_an_answer_that_comes_too_late_counts_for_nothing() -> None:
    lease = HostLease()
    lease.answered(LeaseRequest("register", "t"), look(verdict="registered"), 0, 10)
    assert not lease.answered(LeaseRequest("renew", "t"), look(verdict="granted"), 20, LEASE_US)
    assert not lease.held(100)
    assert lease.ask(LEASE_US, LEASE_US, "u") == LeaseRequest("register", "u"), (
        "others may have evicted it meanwhile"
    )


def test_a_host_without_a_change_keeps_its_old_lease_and_no_more() -> None:
    lease = HostLease()
    lease.answered(LeaseRequest("register", "t"), look(verdict="registered"), 0, 10)
    granted(lease, 20, 10)
    ask = lease.ask(10, 1_000_000, "t")
    assert ask is not None
    assert not lease.answered(ask, look(verdict="behind"), 1_000_000, 1_000_010)
    assert lease.until_us == 20 + LEASE_US
    assert "change 7" in lease.reason


def test_a_waiter_is_done_when_all_applied() -> None:
    wait = ChangeWait(7, BEGUN)
    assert not wait.see(look(host(7), host(6, id=6)), BEGUN, BEGUN + 1).done
    step = wait.see(look(host(7), host(7, id=6)), BEGUN + 2, BEGUN + 3)
    assert step.done
    assert not step.missing


def test_a_waiter_believes_no_look_from_before_its_announcement() -> None:
    assert not ChangeWait(8, BEGUN).see(look(host(8), announced=7), BEGUN, BEGUN + 1).done


def test_a_late_host_is_fenced_after_a_grace_and_buried_after_its_lease() -> None:
    wait = ChangeWait(7, BEGUN)
    late = host(6)
    assert wait.see(look(late), BEGUN, BEGUN + 1) == (False, (), (), False, ("host 5",))
    assert wait.see(look(late), BEGUN + GRACE_US, BEGUN + GRACE_US + 1).fence == (5,)
    assert (
        wait.see(look(late._replace(fence=7)), BEGUN + GRACE_US, BEGUN + GRACE_US + 1).fence == ()
    )
    assert not wait.see(look(late), BEGUN + SILENCE_US, BEGUN + SILENCE_US + 9).evict, (
        "the first look came 1 µs later"
    )
    assert wait.see(look(late), BEGUN + SILENCE_US + 1, BEGUN + SILENCE_US + 9).evict == (late,)


def test_a_renewal_begins_the_wait_anew() -> None:
    wait = ChangeWait(7, 0)
    wait.see(look(host(6, 1)), 0, 1)
    wait.see(look(host(6, 2)), 4_000_000, 4_000_001)
    assert not wait.see(look(host(6, 2)), SILENCE_US + 1, SILENCE_US + 2).evict
    assert wait.see(look(host(6, 2)), 4_000_001 + SILENCE_US, 4_000_002 + SILENCE_US).evict


def test_a_new_epoch_must_ripen_before_an_absence_means_anything() -> None:
    wait = ChangeWait(7, 0)
    young = look(mature=False, epoch="two")
    assert not wait.see(young, 0, 1).done
    assert not wait.see(young, SILENCE_US, SILENCE_US + 1).mature
    assert wait.see(young, SILENCE_US + 1, SILENCE_US + 2).mature
    other = look(mature=False, epoch="three")
    assert not wait.see(other, SILENCE_US + 3, SILENCE_US + 4).mature


def test_a_host_that_came_back_is_not_over() -> None:
    silence = Silence()
    silence.note(look(host(6, 1)), 0)
    silence.note(look(), 1)
    silence.note(look(host(6, 1)), 2)
    assert not silence.over(host(6, 1), SILENCE_US + 1)
    assert not silence.over(host(6, 2), 2 * SILENCE_US), "that is not the host that was watched"
