"""Check a gateway's answers before its speed is measured: a fast wrong answer is worth nothing."""

import sqlite3
import time

import msgspec

from nemorouter.bench.client import HttpResponse, ask, request
from nemorouter.bench.servers import BODY, CHAT, UNKNOWN_KEY, Keys
from nemorouter.settings import Settings

_LIMITS = {"x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens"}
_PATIENCE_S = 10


def require(right: bool, found: object) -> None:
    """Raise AssertionError with ``found`` as its text unless ``right``.

    An ``assert`` would be left out under ``python -O``.
    """
    if not right:
        raise AssertionError(str(found))


def check_gateway(port: int, keys: Keys, settings: Settings) -> None:
    """Check the gateway on ``port``; raise AssertionError at the first wrong answer.

    A plain answer has its status, body and headers. A limit of five requests admits five. A budget
    refuses once it is spent. Each admitted request has exactly one row in the log.
    """
    before = logged(settings)
    good = [_call(port, key) for key in (keys.free, keys.limited, keys.everything)]
    for answer in good:
        require(answer.status == 200, answer)
        require(msgspec.json.decode(answer.body).get("object") == "chat.completion", answer)
        require(answer.headers.get("x-nemo-request-id", "").startswith("req_"), answer)
    require(not _LIMITS & set(good[0].headers), good[0])
    require(set(good[2].headers) >= _LIMITS, good[2])
    answers = [_call(port, keys.five) for _ in range(7)]
    five = [answer.status for answer in answers]
    require(five == [200] * 5 + [429] * 2, five)
    require("retry-after" in answers[-1].headers, answers[-1])
    poor = [_call(port, keys.poor).status for _ in range(6)]
    require(402 in poor and poor == sorted(poor), poor)
    _check_refusals(port, keys)
    wait_for_rows(settings, before + len(good) + five.count(200) + poor.count(200))


def _check_refusals(port: int, keys: Keys) -> None:
    limited = _call(port, keys.none)
    unknown = _call(port, UNKNOWN_KEY)
    malformed = _call(port, "sk-nemo-short")
    require(limited.status == 429, limited)
    require(unknown.status == malformed.status == 401, (unknown, malformed))
    require(unknown.body == malformed.body, (unknown, malformed))


def _call(port: int, key: str) -> HttpResponse:
    return ask(port, request(CHAT, BODY, key))


def logged(settings: Settings) -> int:
    """Count the rows of the request log in the SQLite store of ``settings``."""
    with sqlite3.connect(settings.data_dir / "nemorouter.db") as connection:
        found: int = connection.execute("SELECT count(*) FROM requests").fetchone()[0]
        return found


def wait_for_rows(settings: Settings, wanted: int) -> None:
    """Wait until the request log has ``wanted`` rows; raise AssertionError if it never has."""
    end = time.monotonic() + _PATIENCE_S
    while (found := logged(settings)) != wanted:
        require(time.monotonic() < end, f"{found} rows in the log, {wanted} expected")
        time.sleep(0.02)
