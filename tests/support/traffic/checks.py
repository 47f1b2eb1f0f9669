"""Compare what became of a play with what its shape expects."""

from typing import Any

import msgspec

from nemorouter.reference.cost import cost
from nemorouter.types import ModelPrice, Outcome
from tests.support.traffic.client import Got
from tests.support.traffic.shapes import WRAPPED, Expect, Sent
from tests.support.traffic.stand import WRONG, Play, shown_by

_USD = 10**9


def check(driver: str, play: Play) -> None:
    """AssertionError: the play went in another way than its shape expects."""
    expect = play.shape.expected(driver)
    answers = play.answers
    if expect.admitted is not None:
        answers = _admitted(expect, play)
        expect = msgspec.structs.replace(expect, code="")
    _check_rows(driver, expect, play)
    for got in answers:
        _check_answer(driver, expect, play, got)
    _check_upstream(driver, expect, play)
    assert play.committed == play.spent, "the budget's word is not the sum of the rows"


def _admitted(expect: Expect, play: Play) -> list[Got]:
    """Return the answers of admitted calls, after a look at the refusals of the others."""
    admitted = [got for got in play.answers if got.status not in (402, 429)]
    assert len(admitted) == expect.admitted, f"{len(admitted)} were admitted"
    assert {got.error["code"] for got in play.answers if got not in admitted} == {expect.code}
    return admitted


def _status(driver: str, expect: Expect, play: Play) -> int:
    if expect.status is not None:
        return expect.status
    assert play.shape.answer is not None
    return play.shape.answer.status


def _check_answer(driver: str, expect: Expect, play: Play, got: Got) -> None:
    answer = play.shape.answer
    if _nobody_listens(play, answer):
        return
    assert got.status == _status(driver, expect, play), (got.status, got.body[:300])
    for name, value in expect.headers.items():
        assert got.header(name) == (value or None), name
    identity = got.header("x-nemo-request-id")
    assert identity is not None
    if expect.code and got.status >= 400:
        assert got.whole
        assert got.error["code"] == expect.code, got.body
        assert expect.says in got.error["message"], got.body
        return
    nano = play.rows[0]["cost_nano"] if play.rows else 0
    shown = shown_by(driver, play, nano or 0)
    if expect.code:
        begin, _, last = got.body.rpartition(b"data: ")
        assert begin == shown
        assert f'"code":"{expect.code}"'.encode() in last
        return
    meant = shown if expect.body is None else expect.body.encode()
    assert got.body == meant, (got.body[:2000], meant[:2000])
    ends = answer is None or not any(step.leave or step.cut for step in answer.send)
    assert got.whole or not ends
    if answer is not None and answer.events and expect.outcome == "ok":
        assert got.header("x-accel-buffering") == "no"
        assert got.header("cache-control") is not None


def _nobody_listens(play: Play, answer: Sent | None) -> bool:
    """Return whether the client left before it could see an answer."""
    return any(piece.end in ("close", "reset") for piece in play.shape.request.send)


def _check_rows(driver: str, expect: Expect, play: Play) -> None:
    if expect.tokens is None:
        assert play.rows == []
        return
    count = play.shape.request.at_once if expect.admitted is None else expect.admitted
    assert len(play.rows) == count, f"{len(play.rows)} rows"
    for row in play.rows:
        _check_row(driver, expect, play, row)


def _check_row(driver: str, expect: Expect, play: Play, row: dict[str, Any]) -> None:
    tokens = (row["input_tokens"], row["cached_tokens"], row["output_tokens"])
    assert tokens == expect.tokens, tokens
    outcome = Outcome[expect.outcome.upper()]
    assert row["outcome"] == outcome, Outcome(row["outcome"])
    price = _price(play)
    units = 1 if any(tokens) or outcome == Outcome.OK else 0
    assert row["cost_nano"] == cost(price, *tokens, units), row["cost_nano"]
    if expect.provider_status is not None:
        assert row["status"] == expect.provider_status


def _price(play: Play) -> ModelPrice:
    told = {"input": "1", "output": "10", "request": "0", **play.shape.price}
    nano = {name: int(float(value) * _USD) for name, value in told.items() if name != "max_output"}
    return ModelPrice(model=play.model, version=1, **nano)


def _check_upstream(driver: str, expect: Expect, play: Play) -> None:
    """Check what reached the provider: nothing of a refused call, and no credential of ours."""
    if driver in WRAPPED:
        return  # the app judges it itself
    heard = play.stage.heard
    if expect.tokens is None:
        assert heard == []
    for one in heard:
        told = "\n".join(one.headers.values())
        assert play.key not in told
        assert WRONG not in told
        assert one.path == f"/v1/{play.shape.path}"
        for name, value in (expect.upstream or {}).items():
            assert one.body.get(name) == value, name
        if play.shape.choices == (False, True):
            assert one.body["stream_options"]["include_usage"] is True
