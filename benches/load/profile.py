"""Measure where the CPU time of a request goes under saturation, by library.

python -m benches.load.profile --into FOLDER

It needs ``perf``.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benches.load import envoy, floor, scenarios, tensorzero, wrk
from benches.load.case import SERVE_CORE, Case, UnavailableError
from benches.load.fleet import Fleet
from benches.load.ours import Ours
from benches.load.run import say
from benches.report import pieces
from benches.report.pieces import Part
from nemorouter.bench.client import request
from nemorouter.bench.process import cpu_seconds, is_drainer, tree
from nemorouter.bench.servers import BODY, CHAT

PLACES: Final = (
    ("kernel", r"\[kernel|\[guest|\[vdso|\[unknown"),
    ("native gate", r"_core"),
    ("Granian (HTTP, Rust)", r"_granian"),
    ("HTTP client (Rust)", r"pyreqwest"),
    ("event loop (uvloop)", r"uvloop|loop\."),
    ("Python", r"python|libpython"),
    ("msgspec", r"msgspec"),
    ("memory and C library", r"libc[.-]|ld-linux|libm[.-]|libpthread"),
    ("SQLite", r"sqlite"),
    ("Redis", r"redis"),
    ("Envoy", r"envoy"),
    ("TensorZero", r"tensorzero"),
)
"""Names of places, and what the file name of a library in each matches; the first match counts."""


def main() -> None:
    """Profile every case in turn, and write the piece of the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--into", type=Path, default=Path(".benchmarks/run"))
    parser.add_argument("--seconds", type=int, default=3)
    arguments = parser.parse_args()
    if shutil.which("perf") is None or not wrk.have():
        sys.exit("perf and wrk are needed (Debian: apt-get install linux-perf wrk).")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
        fleet = Fleet(Path(text), stack, say)
        ours = scenarios.muster(fleet, rivals=True)
        parts = [
            profile(fleet, case, arguments.seconds)
            for case in _cases(ours)
            if fleet.need(case.server)
        ]
        title = "Where the CPU time of a request goes: microseconds by library"
        pieces.write(
            arguments.into,
            pieces.new(
                "profile",
                "profile",
                title,
                parts=parts,
                versions=fleet.versions,
                skipped=fleet.skipped,
            ),
        )


def _cases(ours: Ours) -> list[Case]:
    """Return the cases to profile."""
    key = ours.keys[scenarios.RSGI]
    forwarded = ours.keys[scenarios.FORWARD_RSGI].everything
    limited = (request(CHAT, BODY, envoy.KEYS["limited"]),)
    asked = (request(tensorzero.PATH, tensorzero.body("bench")),)
    plain = (request(CHAT, BODY),)
    everything = (request(CHAT, BODY, key.everything),)
    return [
        floor.READ,
        Case("NemoRouter RSGI, everything on", scenarios.RSGI, everything),
        Case("NemoRouter RSGI, 429", scenarios.RSGI, (request(CHAT, BODY, key.none),), 429),
        Case("Envoy, key and local rate limit", scenarios.ENVOY, limited),
        Case("Granian RSGI and the same HTTP client", floor.FORWARD, plain),
        Case(scenarios.FORWARD_RSGI, scenarios.FORWARD_RSGI, (request(CHAT, BODY, forwarded),)),
        Case("Envoy, proxied", scenarios.ENVOY_PROXIED, limited),
        Case("TensorZero and its Redis", scenarios.TENSORZERO, asked),
    ]


def profile(fleet: Fleet, case: Case, seconds: int) -> Part:
    """Saturate a case for ``seconds`` and divide its CPU time by library, in microseconds.

    The drainer works beside the requests, so its time is a place of its own.
    """
    up = fleet.need(case.server)
    if up is None:
        raise UnavailableError(fleet.skipped[case.server])
    pids = tree(up.pid)
    drainers = [pid for pid in pids if is_drainer(pid)]
    workers = [pid for pid in pids if pid not in drainers]
    wrk.flood(fleet.folder, up.port, case.payloads, case.status, 1)
    data = fleet.folder / "perf.data"
    # perf samples the core and not the processes: a timer for a process is set anew at each switch
    # to it, which costs more than the process itself.
    options = f"record -q -e cpu-clock -F 1999 -C {SERVE_CORE} -o"
    command = ["perf", *options.split(), str(data)]
    recording = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        before = cpu_seconds(workers)
        before_drainer = cpu_seconds(drainers)
        found = wrk.flood(fleet.folder, up.port, case.payloads, case.status, seconds)
        spent = cpu_seconds(workers) - before
        spent_drainer = cpu_seconds(drainers) - before_drainer
    finally:
        recording.terminate()
        recording.wait()
    total = spent / found.answers * 1e6
    shares = by_library(data, workers)
    where = {name: share * total for name, share in shares.items()}
    if drainers:
        where["drainer (its own process)"] = spent_drainer / found.answers * 1e6
    fleet.say(f"{case.name}: " + ", ".join(f"{name} {us:.1f}" for name, us in where.items()))
    return Part(case.name, sum(where.values()), where)


def by_library(data: Path, pids: list[int]) -> dict[str, float]:
    """Return the fraction of ``pids``' samples in each place, the greatest first."""
    chosen = ["--pid", ",".join(map(str, pids))]
    script = subprocess.run(
        ["perf", "script", "-i", str(data), *chosen, "-F", "pid,ip,sym,dso", "-G"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    counts: dict[str, int] = {}
    for line in script.splitlines():
        library = re.search(r"\(([^()]*)\)\s*$", line)
        if library is not None:
            name = place(Path(library[1]).name if library[1].startswith("/") else library[1])
            counts[name] = counts.get(name, 0) + 1
    total = sum(counts.values())
    assert total, "perf recorded no sample"
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return {name: count / total for name, count in ordered}


def place(library: str) -> str:
    """Name the place that a library's file belongs to."""
    return next((name for name, pattern in PLACES if re.search(pattern, library)), "other")


if __name__ == "__main__":
    main()
