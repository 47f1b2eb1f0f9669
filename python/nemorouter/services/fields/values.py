"""Check what people type: names, limits, money, models, endpoints, networks, times.

A RefusedError names the field.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from nemorouter.errors import RefusedError
from nemorouter.types import MAX_MODEL_BYTES, MAX_SPEND_NANO, NANO, Duration, Endpoint

MAX_NAME: Final = 200
MAX_LIST: Final = 1000
ENDPOINTS: Final = {
    "chat/completions": Endpoint.CHAT_COMPLETIONS,
    "completions": Endpoint.COMPLETIONS,
    "responses": Endpoint.RESPONSES,
    "embeddings": Endpoint.EMBEDDINGS,
    "images/generations": Endpoint.IMAGES_GENERATIONS,
    "moderations": Endpoint.MODERATIONS,
    "models": Endpoint.MODELS,
    "other": Endpoint.OTHER,
}
"""An endpoint's name is its path after ``/v1/``; ``other`` is any other path that ``NemoAuth``
guards.
"""

_MONEY: Final = re.compile(
    r"\$?([0-9]{1,20}|[0-9]{1,3}(?:,[0-9]{3}){1,6}(?=\.))(?:\.([0-9]{1,40}))?"
)
"""An amount; a comma stands between thousands where a point follows: else it may be either."""
_WHOLE: Final = re.compile(r"[0-9]{1,20}|[0-9]{1,3}([, ])[0-9]{3}(?:\1[0-9]{3}){0,5}")
"""A whole number, plain or in groups of three digits."""
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Categories of characters that are not seen, or that change how others are shown."""
_EMAIL: Final = re.compile(r"[^\s@,;<>\"]{1,64}@[^\s@,;<>\"]{1,190}")
_SPAN: Final = re.compile(r"([0-9]{1,6})([mhdw])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def name(text: str, field: str = "name") -> str:
    """1 to 200 visible characters; blanks around it are cut."""
    text = text.strip()
    if not 1 <= len(text) <= MAX_NAME:
        raise RefusedError(f"{field} must have 1 to {MAX_NAME} characters.", field=field)
    _visible(text, field)
    return text


def email(text: str) -> str:
    text = name(text, "email").lower()
    if not _EMAIL.fullmatch(text):
        raise RefusedError("email must be an e-mail address.", field="email")
    return text


def limit(value: int | None, field: str, most: int) -> int | None:
    """Check a limit or burst of at most ``most``. None is unlimited, 0 blocks everything."""
    if value is not None and not 0 <= value <= most:
        raise RefusedError(f"{field} must be between 0 and {most}.", field=field)
    return value


def usd(text: str, field: str) -> int:
    """Read an amount of USD such as ``50``, ``0.25`` or ``1,234.56`` as nano-USD, exactly.

    RefusedError: it is none, or its comma may mean two things, as in ``2,5`` and ``1,234``.
    """
    match = _MONEY.fullmatch(text.strip())
    if match is None:
        raise RefusedError(
            f"{field} must be an amount of USD such as 50, 0.25 or 1,234.56, not negative.",
            field=field,
        )
    whole = match[1].replace(",", "")
    cents = match[2] or ""
    if len(cents.rstrip("0")) > 9:
        raise RefusedError(
            f"{field} has more than 9 decimals; money is exact to the nano-dollar.", field=field
        )
    return int(whole) * NANO + int(cents.rstrip("0").ljust(9, "0"))


def whole(text: str, field: str) -> int:
    """Read a whole number such as ``600`` or ``100,000``."""
    match = _WHOLE.fullmatch(text.strip())
    if match is None:
        raise RefusedError(f"{field} must be a whole number such as 600 or 100,000.", field=field)
    return int(text.strip().replace(match[1] or ",", ""))


def max_spend(text: str) -> int:
    """Read a budget in nano-USD, up to ten million USD a window."""
    nano = usd(text, "max_spend")
    if nano > MAX_SPEND_NANO:
        raise RefusedError(
            f"max_spend must be at most {MAX_SPEND_NANO // NANO:,} USD a window.", field="max_spend"
        )
    return nano


def usd_text(nano: int) -> str:
    """``0.25``: at least two decimals, never an exponent, exact."""
    whole, rest = divmod(abs(nano), NANO)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}{whole}.{decimals}"


def duration(text: str) -> Duration:
    try:
        return Duration[text.upper()]
    except KeyError:
        names = ", ".join(one.name.lower() for one in Duration)
        raise RefusedError(f"duration must be one of {names}.", field="duration") from None


def models(patterns: Sequence[str]) -> list[str]:
    """Model names, or a prefix and one ``*``."""
    for pattern in _bounded(patterns, "allowed_models"):
        _visible(pattern, "allowed_models")
        if (
            not pattern
            or len(pattern.encode()) > MAX_MODEL_BYTES
            or "*" in pattern[:-1]
            or pattern != pattern.strip()
        ):
            raise RefusedError(
                f"allowed_models: a name of at most {MAX_MODEL_BYTES} bytes, "
                "or a prefix and one * at its end.",
                field="allowed_models",
            )
    return sorted(set(patterns))


def endpoints(names: Sequence[str]) -> int:
    """Return the bit mask of endpoint names; 0 for none, which means all."""
    mask = 0
    for text in _bounded(names, "allowed_endpoints"):
        endpoint = ENDPOINTS.get(text.removeprefix("/v1/").strip("/"))
        if endpoint is None:
            raise RefusedError(
                f"allowed_endpoints: choose from {', '.join(ENDPOINTS)}.", field="allowed_endpoints"
            )
        mask |= 1 << endpoint
    return mask


def endpoint_names(mask: int) -> list[str]:
    return [text for text, endpoint in ENDPOINTS.items() if mask >> endpoint & 1]


def networks(blocks: Sequence[str]) -> list[str]:
    """CIDR blocks or addresses, v4 and v6, in their standard spelling."""
    spelled = set()
    for block in _bounded(blocks, "allowed_ips"):
        try:
            spelled.add(str(ipaddress.ip_network(block.strip())))
        except ValueError:
            raise RefusedError(
                f"allowed_ips: {block[:60]!r} is not an address or a CIDR block without host bits.",
                field="allowed_ips",
            ) from None
    return sorted(spelled)


def expiry(text: str, now_ms: int) -> int:
    """Return an expiry in Unix milliseconds.

    The text is a day (``2027-01-31``), an RFC 3339 time, or a span from now (``12h``, ``30d``).
    """
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    try:
        if span := _SPAN.fullmatch(text.strip()):
            at = now + timedelta(**{_UNITS[span[2]]: int(span[1])})
        else:
            at = datetime.fromisoformat(text.strip())
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
        at_ms = int(at.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise RefusedError(
            "expires_at must be a date, a time with its zone, or a span such as 12h or 30d.",
            field="expires_at",
        ) from None
    if at_ms <= now_ms:
        raise RefusedError("expires_at must lie in the future.", field="expires_at")
    return at_ms


def _bounded(items: Sequence[str], field: str) -> Sequence[str]:
    if len(items) > MAX_LIST:
        raise RefusedError(f"{field} holds more than {MAX_LIST} entries.", field=field)
    return items


def _visible(text: str, field: str) -> None:
    if any(unicodedata.category(char) in _HIDDEN for char in text):
        raise RefusedError(
            f"{field} must not hold control characters, nor others that are not seen.",
            field=field,
        )
