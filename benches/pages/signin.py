"""What a crowd that signs in at once does to model calls: p99 of an even stream of them, quiet and
beside it.

python -m benches.pages.signin [--rounds 5] [--crowd 200] [--rate 1000] [--spread]

The server has one core, the callers the other (``--spread``: the server has all). Three windows a
round: nothing else; the crowd asks for ``/healthz``, which costs nothing but connections; the crowd
signs in. Each comes from an address and with a name of its own, so that none is throttled.
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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from nemorouter.bench.client import Load, paced, percentile, request, whole
from nemorouter.bench.process import cores, free_port, resident_bytes, running, tree
from nemorouter.bench.servers import BODY, CHAT, gateway, is_ready, prepare

WINDOW_S = 5.0
REST_S = 1.5
QUIET, KNOCK, SIGN_IN = "quiet", "crowd at /healthz", "crowd at /login"


def _one(port: int, number: int, payload: bytes) -> int:
    """One question from an address of its own; its status."""
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
    """A process of its own: at each order all ask at once; answers how many got which status, and
    the seconds.
    """
    os.nice(10)
    while True:
        kind, turn = orders.recv()
        if not kind:
            return
        begun = time.monotonic()
        with ThreadPoolExecutor(size) as pool:
            asked = [
                pool.submit(_one, port, turn % 100 * size + i, _payload(kind, i, turn))
                for i in range(size)
            ]
        found = Counter(one.result() for one in asked)
        orders.send((dict(found), time.monotonic() - begun))


class Peak(threading.Thread):
    """The most memory that a server held while this ran."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._over = threading.Event()
        self.bytes = 0

    def run(self) -> None:
        while not self._over.wait(0.1):
            self.bytes = max(self.bytes, resident_bytes(tree(self._pid)))

    def end(self) -> int:
        self._over.set()
        self.join()
        return self.bytes


def measure(rounds: int, size: int, rate: float, *, spread: bool) -> None:
    """Run it and print it."""
    core, other = None if spread else cores()[0], cores()[-1]
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    latencies: dict[str, list[Sequence[float]]] = {QUIET: [], KNOCK: [], SIGN_IN: []}
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        settings, keys = prepare(Path(folder), port=port, workers=1)
        payload = request(CHAT, BODY, keys.everything)
        log = Path(folder) / "server.log"
        with running(
            gateway(), port, is_ready, core=core, log=log, env=settings.to_env()
        ) as server:
            os.sched_setaffinity(0, {other})
            child = multiprocessing.get_context("spawn").Process(
                target=crowd, args=(port, size, theirs)
            )
            child.start()
            _order(ours, SIGN_IN, -1)  # what is loaded when it is first needed, is
            paced(port, payload, 200, 1.0, rate)
            calm, peak = resident_bytes(tree(server.pid)), Peak(server.pid)
            peak.start()
            for turn in range(rounds):
                for kind, found in latencies.items():
                    time.sleep(REST_S)
                    found.append(
                        _window(ours, kind, turn, lambda: paced(port, payload, 200, WINDOW_S, rate))
                    )
            most = peak.end()
            ours.send(("", 0))
            child.join()
    for kind, windows in latencies.items():
        each = [percentile(window, 0.99) * 1000 for window in windows]
        every = [value * 1000 for window in windows for value in window]
        print(
            f"{kind:20} p50 {statistics.median(every):6.2f}  p99 {percentile(every, 0.99):6.2f}  "
            f"p99 of windows {min(each):.2f} to {max(each):.2f}  most {max(every):6.1f} ms"
        )
    print(f"memory of the server: {calm / 1e6:.0f} MB before, at most {most / 1e6:.0f} MB")


def _order(pipe: "Connection[Any, Any]", kind: str, turn: int) -> None:
    pipe.send((kind, turn))
    found, seconds = pipe.recv()
    print(f"  {kind}: {found} in {seconds:.2f} s", flush=True)


def _window(
    pipe: "Connection[Any, Any]", kind: str, turn: int, work: Callable[[], Load]
) -> Sequence[float]:
    """Latencies of a window; the crowd comes a quarter of a second after its beginning."""
    timer = threading.Timer(0.25, pipe.send, ((kind, turn),))
    if kind != QUIET:
        timer.start()
    found = work().latencies
    if kind != QUIET:
        answers, seconds = pipe.recv()
        print(f"  {kind}: {answers} in {seconds:.2f} s", flush=True)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
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
