"""Measure how the cost of a decision, memory and load time grow with the number of keys.

python -m benches.micro.size [--json FILE]

Each size is measured in a process of its own. The arena is in a file, as it is for a server, and
its memory is the blocks of that file.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

import nemorouter._core as native
from benches.report.pieces import Live, Size
from nemorouter.bench.world import CHAT, MODEL, OK, PEPPER, World, key_policy, owners

SIZES = (1_000, 1_000_000)
ROUNDS = 30
AIMS = """Aims: the cost at 1 M keys is at most 2x that at 1 k, and a key takes at most 400 bytes.
1 M keys load from the store within 10 s; a new worker admits within 1 s of the last one's end.
"""


def cost_ns(keys: int) -> float:
    """Measure identify, admit and settle together over random keys: median nanoseconds of CPU."""
    world = World(native, keys)
    gate = world.gate
    first = gate.identify(world.headers[0], "192.0.2.1", CHAT)
    assert world.settle(world.admit(first)) == 108_000
    rounds = []
    for _ in range(ROUNDS):
        world.drain()
        began = time.process_time_ns()
        for header in world.headers:
            index = gate.identify(header, "192.0.2.1", CHAT)
            ticket = gate.admit(index, MODEL, CHAT, 0, 2_000, 100, 1, False)
            gate.settle(ticket, 480, 0, 60, 200, OK, 250_000, 80_000)
        rounds.append((time.process_time_ns() - began) / len(world.headers))
    return statistics.median(rounds)


def load(keys: int) -> tuple[float, float]:
    """Put ``keys`` keys into an arena in a file; return seconds, and bytes of the file a key."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "arena")
        arena = native.Arena.create(path, keys + 16, PEPPER)
        arena.put_many(owners())
        seconds = 0.0
        for first in range(0, keys, 10_000):
            batch = [
                key_policy(number) for number in range(first + 1, min(keys, first + 10_000) + 1)
            ]
            began = time.perf_counter()
            arena.put_many(batch)
            seconds += time.perf_counter() - began
        arena.publish(path)
        return seconds, Path(path).stat().st_blocks * 512 / keys


def one(keys: int) -> Size:
    """Measure all figures of one size but those of a server."""
    seconds, bytes_a_key = load(keys)
    return Size(keys=keys, cost_ns=cost_ns(keys), bytes_a_key=bytes_a_key, load_s=seconds)


def apart(module: str, keys: int) -> bytes:
    """Run ``module`` with ``keys`` as its argument in a new process; return what it prints."""
    return subprocess.run(
        [sys.executable, "-m", module, str(keys)], check=True, stdout=subprocess.PIPE
    ).stdout


def main() -> None:
    """Measure every size in a process of its own, and print the comparison."""
    if len(sys.argv) > 1 and sys.argv[1].isdecimal():
        print(msgspec.json.encode(one(int(sys.argv[1]))).decode())
        return
    found = []
    print(f"{'keys':>10}{'identify+admit+settle':>24}{'bytes a key':>14}{'load':>10}")
    for keys in SIZES:
        size = msgspec.json.decode(apart(__spec__.name, keys), type=Size)
        found.append(size)
        print(f"{keys:>10}{size.cost_ns:>21.0f} ns{size.bytes_a_key:>14.0f}{size.load_s:>8.2f} s")
    print("\nfrom a store, by a real server:")
    print(f"{'keys':>10}{'load':>10}{'bytes a key':>14}{'start':>10}{'new worker':>14}")
    for at, size in enumerate(found):
        live = msgspec.json.decode(apart("benches.micro.live", size.keys), type=Live)
        found[at] = msgspec.structs.replace(size, live=live)
        print(f"{size.keys:>10}{live.load_s:>8.2f} s{live.bytes_a_key:>14.0f}", end="")
        print(f"{live.start_s:>8.2f} s{live.respawn_s:>12.2f} s")
    if sys.argv[1:2] == ["--json"]:
        Path(sys.argv[2]).write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    print(f"\nCost grows {found[-1].cost_ns / found[0].cost_ns:.2f}x.\n{AIMS}")


if __name__ == "__main__":
    main()
