"""One record of the arena: the policy of a scope, compiled for reading, and its meters."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from nemorouter.reference.bucket import Bucket
from nemorouter.reference.cost import AMOUNT_MAX
from nemorouter.reference.windows import Window, window_at
from nemorouter.types import MAX_SPEND_NANO, RATES, Duration, Kind, Policy, Status

DIGEST_BYTES = 32
_V4_MAPPED = 0xFFFF << 32
_V4_OFFSET = 96


class Scope:
    """A scope's place in the arena.

    It is changed in place and never moves, so keys hold on to their owners.
    """

    __slots__ = (
        "_exact",
        "_networks",
        "_prefixes",
        "buckets",
        "committed",
        "frozen",
        "index",
        "payers",
        "policy",
        "window",
    )

    def __init__(
        self, index: int, policy: Policy, owners: tuple["Scope", ...], wall_ms: int
    ) -> None:
        self.index = index
        self.buckets: list[Bucket | None] = [None] * len(RATES)
        """One for each of RATES; None = unlimited."""
        # The money word: the window, nano-USD posted + reserved in it, and whether it waits for a
        # recount.
        self.window: Window = window_at(policy.duration, wall_ms)
        self.committed = 0
        self.frozen = False
        self.policy = policy
        self.write(policy, owners, 0, wall_ms)

    def write(
        self, policy: Policy, owners: tuple["Scope", ...], boot_us: int, wall_ms: int
    ) -> None:
        """Apply a policy.

        Changed limits keep what was used; a changed duration freezes the money word.
        """
        if policy.duration != self.policy.duration:
            self.window = window_at(policy.duration, wall_ms)
            self.committed = 0
            self.frozen = True
        limits = zip(self.buckets, policy.limits, policy.bursts, strict=True)
        self.buckets = [_relimited(*limit, rate, boot_us) for rate, limit in enumerate(limits)]
        self._exact = frozenset(model for model in policy.models if not model.endswith("*"))
        self._prefixes = tuple(model[:-1] for model in policy.models if model.endswith("*"))
        self._networks = tuple(_network(text) for text in policy.ips)
        self.payers = (self, *owners)
        """The scopes that a request of this key is checked by and charged to, in order: key, team,
        user if it has one, org.
        """
        self.policy = policy

    def allows_model(self, model: str) -> bool:
        """Return whether the allow-list is empty or names the model, or a prefix of it."""
        return not self.policy.models or model in self._exact or model.startswith(self._prefixes)

    def allows_endpoint(self, endpoint: int) -> bool:
        """Return whether the mask is empty or has the endpoint's bit."""
        return not self.policy.endpoints or bool(self.policy.endpoints >> endpoint & 1)

    def allows_ip(self, text: str) -> bool:
        """Return whether the list is empty or one of its blocks holds the address.

        An IPv4-mapped address counts as IPv4.
        """
        if not self._networks:
            return True
        try:
            address = _as_v6(ip_address(text))
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def committed_in(self, window: Window) -> int:
        """Nano-USD committed in that window, which is not older than the word's."""
        return self.committed if self.window == window else 0

    def commit(self, window: Window, nano: int) -> None:
        """Add what a request reserves, in the window that is its own."""
        self.committed = min(AMOUNT_MAX, self.committed_in(window) + nano)
        self.window = window

    def correct(self, at_ms: int, difference: int) -> None:
        """Add to the money word if the window of ``at_ms`` still is the word's.

        A saturated word has forgotten its amount: it stays, too high rather than too low, until a
        recount.
        """
        if self.window == window_at(self.policy.duration, at_ms) and self.committed < AMOUNT_MAX:
            self.committed = max(0, min(AMOUNT_MAX, self.committed + difference))


def check_policy(policy: Policy) -> None:
    """ValueError if a field cannot be stored."""
    if (
        policy.kind not in set(Kind)
        or policy.status not in set(Status)
        or policy.duration not in set(Duration)
    ):
        raise ValueError("unknown kind, status or duration")
    if len(policy.digest) != (DIGEST_BYTES if policy.kind == Kind.KEY else 0):
        raise ValueError("a key needs a digest of 32 bytes, other kinds have none")
    for rate, *numbers in zip(RATES, policy.limits, policy.bursts, strict=True):
        for number in numbers:
            if number is not None and not 0 <= number <= rate.most:
                raise ValueError(f"{rate.name} must be between 0 and {rate.most}")
    if policy.cap is not None and not 0 <= policy.cap <= MAX_SPEND_NANO:
        raise ValueError(f"a cap must be between 0 and {MAX_SPEND_NANO}")
    for text in policy.ips:
        _network(text)


def _relimited(
    bucket: Bucket | None, limit: int | None, burst: int | None, rate: int, boot_us: int
) -> Bucket | None:
    """Return the bucket under a changed limit. From no limit a full bucket begins."""
    if limit is None:
        return None
    if bucket is None:
        bucket = Bucket(limit, burst, rate)
        bucket.fill(boot_us)
        return bucket
    bucket.relimit(limit, burst, boot_us)
    return bucket


def _network(text: str) -> IPv6Network:
    network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network):
        return network
    return IPv6Network((_as_v6(network.network_address), _V4_OFFSET + network.prefixlen))


def _as_v6(address: IPv4Address | IPv6Address) -> IPv6Address:
    """IPv4 lies in IPv6 as ``::ffff:a.b.c.d``."""
    return address if isinstance(address, IPv6Address) else IPv6Address(_V4_MAPPED | int(address))
