"""Logs: one JSON object a line, and never a key in it."""

import json
from collections.abc import Iterator

import pytest
import structlog

from nemorouter import log

KEY = "sk-nemo-CANARYCANARYCANARY12"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_one_json_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info")
    log.get_logger("here").info("started", port=8000, odd="a\nb\x1b[31m")
    log.get_logger("here").debug("unheard")
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["module"], event["level"], event["port"]) == (
        "started",
        "here",
        "info",
        8000,
    )
    assert event["odd"] == "a\nb\x1b[31m"


class _Holder:
    def __repr__(self) -> str:
        return f"Holder({KEY})"


def test_no_key_leaves_by_any_door(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("debug")
    logger = log.get_logger("here")
    logger.info(
        f"got {KEY}", key=KEY, deep={"a": [KEY, {KEY: (KEY,)}]}, raw=KEY.encode(), holder=_Holder()
    )
    try:
        raise ValueError(f"bad {KEY}")
    except ValueError:
        logger.exception("failed", management=KEY.replace("sk-", "mk-"))
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 2
    assert "CANARY" not in err
    assert "sk-nemo-..." in err
    assert "mk-nemo-..." in err


def test_redact_leaves_aliases_alone() -> None:
    assert log.redact("sk-...ab12 and sk-nemo-") == "sk-...ab12 and sk-nemo-"
