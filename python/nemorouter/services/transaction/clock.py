"""Wall time for the services: now, and the text of an instant."""

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def iso(at_ms: int | None) -> str | None:
    """``2026-11-25T03:45:54.123Z``; None stays None."""
    if at_ms is None:
        return None
    seconds, millis = divmod(at_ms, 1000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{millis:03d}Z"


def day_text(day: int) -> str:
    """``2026-11-25`` of a day number (days since 1970-01-01 UTC)."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")
