"""Run a worker without a server: it admits and settles as fast as it can until it is killed.

It acknowledges what it settled. ``python -m tests.support.settling_worker <data dir>
<acknowledgements> <seed> <keys...>``
"""

import os
import random
import sys
from pathlib import Path

from nemorouter._core import Arena, Gate, Journal
from nemorouter.datadir.locks import Flock
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.secrets import load_peppers

ACK = "%016x %016x %d\n"


def main(root: str, acknowledgements: str, seed: str, *keys: str) -> None:
    data = DataDir(Path(root))
    rng = random.Random(seed)
    note = data.note()
    assert note is not None
    arena = Arena.open(note.path, bytes.fromhex(note.identity))
    while (lock := Flock.attempt(data.policy_lock)) is None:
        pass
    with lock:
        journal = Journal.create(str(data.journals), 256, ["echo"])
    gate = Gate(arena, journal, load_peppers(data.root / "pepper"))
    told = os.open(acknowledgements, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    print("working", flush=True)
    open_tickets: list[int] = []
    while True:
        key = rng.choice(keys)
        index = gate.identify(f"Bearer {key}", "127.0.0.1", 0)
        if index >= 0:
            ticket = gate.admit(index, "m", 0, 0, 4 * rng.randint(1, 50), 0, 1, False)
            if isinstance(ticket, int):
                open_tickets.append(ticket)
        while len(open_tickets) > rng.randint(0, 20):
            ticket = open_tickets.pop(rng.randrange(len(open_tickets)))
            request = gate.request_id(ticket)
            cost = gate.settle(
                ticket, rng.randint(0, gate.reserved(ticket)[0]), 0, 0, 200, 1, 1, None
            )
            # The page cache keeps it, as it keeps the slot: from here on the client has its answer.
            os.write(told, (ACK % (int(request[4:20], 16), int(request[20:], 16), cost)).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
