"""Rows of the request log, as a journal would hand them over."""

from typing import Final

from nemorouter._core import Row
from nemorouter.store.sums import DAY_MS
from nemorouter.types import Endpoint, Outcome
from tests.support.world import KEY, ORG, TEAM, USER

_USUAL: Final[dict[str, int | str | None]] = {
    "slot": 0,
    "journal_id": 77,
    "seq": 1,
    "at_ms": 0,
    "key_id": 0,
    "team_id": 0,
    "user_id": 0,
    "org_id": 0,
    "model": "m",
    "upstream": "echo",
    "endpoint": Endpoint.CHAT_COMPLETIONS,
    "status": 200,
    "outcome": Outcome.OK,
    "stream": 0,
    "input_tokens": 10,
    "cached_tokens": 4,
    "output_tokens": 5,
    "cost_nano": None,
    "reserved_nano": 2_000,
    "latency_us": 1_500,
    "ttft_us": None,
}


def row(**fields: int | str | None) -> Row:
    """Make a row: the given fields, and the usual value of each other."""
    unknown = fields.keys() - _USUAL.keys()
    if unknown:
        raise TypeError(f"no fields of a row: {sorted(unknown)}")
    values = {**_USUAL, **fields}
    return Row(values[name] for name in Row.__match_args__)


DAY = 20_700


AT = DAY * DAY_MS + 5_000


def a_row(
    seq: int,
    *,
    journal_id: int = 77,
    at: int = AT,
    key: int = KEY,
    cost: int | None = 5,
    model: str = "m",
) -> Row:
    return row(
        slot=seq % 16,
        journal_id=journal_id,
        seq=seq,
        at_ms=at,
        key_id=key,
        team_id=TEAM,
        user_id=USER,
        org_id=ORG,
        model=model,
        stream=1,
        cached_tokens=2,
        output_tokens=3,
        cost_nano=cost,
        reserved_nano=9,
    )
