"""Measure how much model calls are delayed while a crowd of people signs in at once.

python -m benches.pages.signin [--rounds 5] [--crowd 200] [--rate 1000] [--spread]

The figure is the p99 latency of model calls at a fixed rate. A round has three windows: model calls
alone; beside a crowd that gets ``/healthz``, which costs nothing but connections; beside a crowd
that signs in. Each person of the crowd has an address and a name of their own, so that none of them
is throttled. The server has one core and the callers have the other; ``--spread`` gives the server
all cores.
"""

import argparse
import multiprocessing
import os
import socket
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from nemorouter.bench.client import Load, paced, percentile, request, whole
from nemorouter.bench.process import cores, free_port, resident_bytes, running, tree
from nemorouter.bench.servers import BODY, CHAT, gateway, is_ready, prepare

WINDOW_S = 5.0
REST_S = 1.5
QUIET = "quiet"
KNOCK = "crowd at /healthz"
SIGN_IN = "crowd at /login"


def _one(port: int, number: int, payload: bytes) -> int:
    """Send ``payload`` from the loopback address of person ``number``; return the status."""
    with socket.socket() as client:
        client.settimeout(60)
        client.bind((f"127.0.{1 + number // 200}.{1 + number % 200}", 0))
        client.connect(("127.0.0.1", port))
        client.sendall(payload)
        data = b""
        while not whole(data):
            part = client.recv(1 << 16)
            if not part:
                return 0
            data += part
        return int(data.split(b" ", 2)[1])


def _payload(kind: str, number: int, turn: int) -> bytes:
    """Build the request of person ``number`` in a crowd of ``kind``; each sign-in is refused."""
    if kind == KNOCK:
        return request("/healthz", method="GET")
    form = urlencode(
        {"email": f"p{number}-{turn}@example.com", "password": "not the right one"}
    ).encode()
    lines = [
        "POST /login HTTP/1.1",
        "host: localhost",
        "content-type: application/x-www-form-urlencoded",
    ]
    return "\r\n".join([*lines, f"content-length: {len(form)}"]).encode() + b"\r\n\r\n" + form


def crowd(port: int, size: int, orders: "Connection[Any, Any]") -> None:
    """Run the crowd, in a process of its own, until an order with an empty kind comes.

    At each order (kind, turn) all ``size`` people send their request at once. The reply is the
    number of answers by status, and the seconds until the last one.
    """
    os.nice(10)
    while True:
        kind, turn = orders.recv()
        if not kind:
            return
        begun = time.monotonic()
        with ThreadPoolExecutor(size) as pool:
            first = turn % 100 * size
            asked = [
                pool.submit(_one, port, first + number, _payload(kind, number, turn))
                for number in range(size)
            ]
        found = Counter(one.result() for one in asked)
        orders.send((dict(found), time.monotonic() - begun))


class PeakMemory(threading.Thread):
    """A thread that samples a server's resident memory; ``end`` returns the largest sample."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._over = threading.Event()
        self.bytes = 0

    def run(self) -> None:
        """Sample ten times a second until ``end`` is called."""
        while not self._over.wait(0.1):
            self.bytes = max(self.bytes, resident_bytes(tree(self._pid)))

    def end(self) -> int:
        """Stop the thread; return the largest sample in bytes."""
        self._over.set()
        self.join()
        return self.bytes


def measure(rounds: int, size: int, rate: float, *, spread: bool) -> None:
    """Start the server and the crowd, measure ``rounds`` rounds, and print the result.

    ``rate`` is in model calls a second.
    """
    core = None if spread else cores()[0]
    latencies: dict[str, list[Sequence[float]]] = {QUIET: [], KNOCK: [], SIGN_IN: []}
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        settings, keys = prepare(Path(folder), port=port, workers=1)
        payload = request(CHAT, BODY, keys.everything)
        log = Path(folder) / "server.log"
        with running(
            gateway(), port, is_ready, core=core, log=log, env=settings.to_env()
        ) as server:
            os.sched_setaffinity(0, {cores()[-1]})
            with _crowd(port, size) as orders:
                # The first sign-in starts processes and loads modules: it is not measured.
                _order(orders, SIGN_IN, -1)
                paced(port, payload, 200, 1.0, rate)
                calm = resident_bytes(tree(server.pid))
                peak = PeakMemory(server.pid)
                peak.start()
                for turn in range(rounds):
                    for kind, found in latencies.items():
                        time.sleep(REST_S)
                        calls = partial(paced, port, payload, 200, WINDOW_S, rate)
                        found.append(_window(orders, kind, turn, calls))
                most = peak.end()
    _print(latencies)
    print(f"memory of the server: {calm / 1e6:.0f} MB before, at most {most / 1e6:.0f} MB")


@contextmanager
def _crowd(port: int, size: int) -> Iterator["Connection[Any, Any]"]:
    """Start ``crowd`` in a process of its own; yield the pipe that takes its orders."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    child = spawn.Process(target=crowd, args=(port, size, theirs))
    child.start()
    try:
        yield ours
    finally:
        ours.send(("", 0))
        child.join()


def _print(latencies: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Print p50 and p99 of each kind of window; ``latencies`` are in seconds."""
    for kind, windows in latencies.items():
        each = [percentile(window, 0.99) * 1000 for window in windows]
        every = [value * 1000 for window in windows for value in window]
        print(
            f"{kind:20} p50 {statistics.median(every):6.2f}  p99 {percentile(every, 0.99):6.2f}  "
            f"p99 of windows {min(each):.2f} to {max(each):.2f}  most {max(every):6.1f} ms"
        )


def _order(pipe: "Connection[Any, Any]", kind: str, turn: int) -> None:
    """Let the crowd send its requests once, and print its reply."""
    pipe.send((kind, turn))
    found, seconds = pipe.recv()
    print(f"  {kind}: {found} in {seconds:.2f} s", flush=True)


def _window(
    pipe: "Connection[Any, Any]", kind: str, turn: int, work: Callable[[], Load]
) -> Sequence[float]:
    """Run ``work`` beside a crowd of ``kind``; return the latencies, in seconds.

    The crowd comes a quarter of a second after ``work`` has begun.
    """
    timer = threading.Timer(0.25, pipe.send, ((kind, turn),))
    if kind != QUIET:
        timer.start()
    found = work().latencies
    if kind != QUIET:
        answers, seconds = pipe.recv()
        print(f"  {kind}: {answers} in {seconds:.2f} s", flush=True)
    return found


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--crowd", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument(
        "--spread", action="store_true", help="let the server have all cores, as a deployment does"
    )
    given = parser.parse_args()
    measure(given.rounds, given.crowd, given.rate, spread=given.spread)


if __name__ == "__main__":
    main()
