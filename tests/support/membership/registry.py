"""Model the registry's script in Python, for simulated time.

``tests/integration/test_registry.py`` holds both equal.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from itertools import count

from nemorouter.cluster.membership.hosts import Host, RegistryView

_times = count()  # Redis's clock, as far as it is part of an epoch's name


@dataclass
class Entry:
    """A host's field."""

    applied: int = 0
    n: int = 0
    fence: int = 0
    token: str = ""
    new: bool = False


@dataclass
class Model:
    """One Redis server (``run``) with its data set."""

    run: str
    epoch: str = ""
    owner: str = ""
    mature: bool = False
    announced: int = 0
    hosts: dict[int, Entry] = field(default_factory=dict)

    def flush(self) -> None:
        """Lose the data set."""
        self.epoch = ""
        self.owner = ""
        self.mature = False
        self.announced = 0
        self.hosts = {}

    def promoted(self, run: str) -> "Model":
        """Return a copy of this data set on another server."""
        other = deepcopy(self)
        other.run = run
        return other

    def call(self, fresh: str, what: str, *arguments: int | str) -> RegistryView:
        """One step, as ``Registry`` asks for it."""
        if not self.epoch or self.owner != self.run:
            self.epoch = f"{fresh}-{next(_times)}"
            self.owner = self.run
            self.mature = False
        verdict: str = getattr(self, f"_{what}")(*arguments) or ""
        hosts = tuple(
            Host(id, str(id), e.applied, e.n, e.fence, 0) for id, e in sorted(self.hosts.items())
        )
        return RegistryView(verdict, self.epoch, self.mature, self.announced, 0, hosts)

    def _register(self, id: int, token: str, applied: int) -> str:
        entry = self.hosts.setdefault(id, Entry(n=next(_times) * 1_000_000))
        entry.applied = max(entry.applied, applied)
        entry.n += 1
        entry.token = token
        entry.new = True
        return "registered"

    def _renew(self, id: int, token: str, applied: int) -> str:
        entry = self.hosts.get(id)
        if entry is None or entry.token != token:
            return "unknown"
        entry.applied = max(entry.applied, applied)
        if entry.applied < entry.fence or (entry.new and entry.applied < self.announced):
            return "behind"
        entry.n += 1
        entry.new = False
        return "granted"

    def _announce(self, sequence: int, *fence: int) -> None:
        self.announced = max(self.announced, sequence)
        for id in fence:
            if id in self.hosts:
                self.hosts[id].fence = max(self.hosts[id].fence, sequence)

    def _evict(self, epoch: str, id: int, n: int) -> str | None:
        if epoch == self.epoch and id in self.hosts and self.hosts[id].n == n:
            del self.hosts[id]
            return "evicted"
        return None

    def _mature(self, epoch: str) -> None:
        self.mature = self.mature or epoch == self.epoch

    def _leave(self, id: int) -> None:
        self.hosts.pop(id, None)
