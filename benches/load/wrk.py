"""Saturate a server with wrk: one thread, and one request in flight on each kept connection.

The statuses that wrk counts are checked.
"""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benches.load.case import LOAD_CORE

CONNECTIONS = 16
_DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nJSON{"answers":%d,"us":%d,"refused":%d,"broken":%d,"p50":%d,"p99":%d}\\n',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


class Flood(NamedTuple):
    """The result of a saturation: answers, its duration, and two percentiles of the latency."""

    answers: int
    seconds: float
    p50_us: int
    p99_us: int


def have() -> bool:
    """Tell whether wrk is installed."""
    return shutil.which("wrk") is not None


def script(payloads: Sequence[bytes]) -> str:
    """Return a wrk script that sends ``payloads`` in turn and builds none of them at run time."""
    listed = ",\n".join(_quoted(payload) for payload in payloads)
    turn = "i = i % #all + 1; return all[i]" if len(payloads) > 1 else "return all[1]"
    return f"local all = {{{listed}}}\nlocal i = 0\nfunction request() {turn} end\n{_DONE}"


def _quoted(data: bytes) -> str:
    """Write ``data`` as a string of Lua."""
    plain = {*range(32, 127)} - {*b'"\\'}
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03d}" for b in data) + '"'


def flood(folder: Path, port: int, payloads: Sequence[bytes], status: int, seconds: float) -> Flood:
    """Saturate the server on ``port`` for ``seconds``.

    AssertionError if an answer is broken, or if one is a 4xx or 5xx and ``status`` is not, or the
    other way round.
    """
    file = folder / f"wrk-{port}.lua"
    file.write_text(script(payloads), "ascii")
    options = f"-t1 -c{CONNECTIONS} -d{max(1, round(seconds))}s --timeout 30s"
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", *options.split()]
    done = subprocess.run(
        [*command, "-s", str(file), f"http://127.0.0.1:{port}"],
        check=True,
        stdout=subprocess.PIPE,
        timeout=seconds * 3 + 60,
    ).stdout.decode()
    found = json.loads(done.rpartition("JSON")[2])
    answers = found["answers"]
    refused = found["refused"]
    assert answers, done
    assert found["broken"] == 0, f"{found['broken']} broken answers: {done}"
    assert refused == (answers if status >= 400 else 0), (
        f"{refused} of {answers} answers were 4xx or 5xx"
    )
    return Flood(answers, found["us"] / 1e6, found["p50"], found["p99"])
