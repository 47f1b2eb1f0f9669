"""Write numbers, money, days and names for a page. Pure functions, used as filters."""

from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

_CENT: Final = Decimal("0.01")
_STEPS: Final = ((1_000_000_000_000, "T"), (1_000_000_000, "B"), (1_000_000, "M"), (10_000, "k"))
_AGES: Final = (
    (86_400 * 365, "year"),
    (86_400 * 30, "month"),
    (86_400, "day"),
    (3600, "hour"),
    (60, "minute"),
)


def usd(text: str | None) -> str:
    """Write a decimal string as ``$1,234.50``; None as a dash.

    Small amounts keep two significant digits.
    """
    if text is None:
        return "–"
    value = Decimal(text)
    if value and abs(value) < _CENT:
        digits = max(-value.adjusted() + 1, 2)
        return _dollars(value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))
    return _dollars(value.quantize(_CENT, ROUND_HALF_UP))


def exact(text: str) -> str:
    """Write a decimal string as ``$1,234.50`` with every digit.

    Prices and caps are shown so, as they were typed.
    """
    return _dollars(Decimal(text))


def _dollars(value: Decimal) -> str:
    return f"{'-' if value < 0 else ''}${abs(value):,f}"


def grouped(number: int) -> str:
    """``1,234,567``."""
    return f"{number:,}"


def counted(number: int, one: str, many: str = "") -> str:
    """``1 key``, ``2 keys``; ``many`` where an s at the end does not do it."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def compact(number: int) -> str:
    """``1,234`` or ``12.3k``, for axes and tiles."""
    for size, letter in _STEPS:
        if abs(number) >= size:
            scaled = number / (1000 if letter == "k" else size)
            return f"{scaled:.1f}".removesuffix(".0") + letter
    return f"{number:,}"


def limit(number: int | None) -> str:
    """Write a limit; None is unlimited."""
    return "Unlimited" if number is None else f"{number:,}"


def percent(part: str, whole: str) -> int:
    """Return how much of a cap is spent, in percent, rounded down so that 100 means all of it.

    A cap of 0 is always used up.
    """
    cap = Decimal(whole)
    return int(min(Decimal(part) / cap, Decimal(10)) * 100) if cap else 100


def level(share: int) -> str:
    """Return the class of a bar: calm, ``near`` its end, or ``over``."""
    return "over" if share >= 100 else "near" if share >= 80 else "calm"


def ago(text: str | None, now: datetime | None = None) -> str:
    """``3 minutes ago`` of an RFC 3339 time. None: never."""
    if text is None:
        return "never"
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(text)).total_seconds()
    ahead = seconds < 0
    seconds = abs(seconds)
    for size, unit in _AGES:
        if seconds >= size:
            many = int(seconds // size)
            span = f"{many} {unit}{'s' if many > 1 else ''}"
            return f"in {span}" if ahead else f"{span} ago"
    return "in a moment" if ahead else "just now"


def instant(text: str | None) -> str:
    """``2026-11-25 03:45:54 UTC`` of an RFC 3339 time."""
    return "" if text is None else f"{text[:10]} {text[11:19]} UTC"


def short_day(text: str) -> str:
    """``25 Nov`` of ``2026-11-25``."""
    day = date.fromisoformat(text)
    return f"{day.day} {day:%b}"


def title(word: str) -> str:
    """``Upstream error`` of ``upstream_error``."""
    return word.replace("_", " ").capitalize()
