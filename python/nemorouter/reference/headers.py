"""OpenAI's x-ratelimit-* headers of the tightest level, and Go-style durations."""

from nemorouter.reference.bucket import Bucket
from nemorouter.types import RATES


def go_duration(us: int) -> str:
    """Format microseconds as Go prints durations: ``0s``, ``20ms``, ``6m0s``, ``1h2m3.5s``.

    They are rounded up to milliseconds.
    """
    ms = -(-us // 1_000)
    if ms == 0:
        return "0s"
    if ms < 1_000:
        return f"{ms}ms"
    minutes, ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds, ms = divmod(ms, 1_000)
    fraction = f".{ms:03}".rstrip("0").rstrip(".")
    text = f"{seconds}{fraction}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def rate_headers(levels: list[list[Bucket | None]], boot_us: int) -> list[tuple[str, str]]:
    """Return the header pairs of the tightest bucket of each resource.

    ``levels`` has the buckets of each scope in the order of RATES. A resource without any limit is
    left out.
    """
    limits = []
    remaining = []
    resets = []
    for name in ("requests", "tokens"):
        limited = [
            bucket
            for buckets in levels
            for rate, bucket in zip(RATES, buckets, strict=True)
            if bucket is not None and rate.resource == name
        ]
        if not limited:
            continue
        tightest = min(limited, key=lambda bucket: max(0, bucket.remaining(boot_us)))
        limits.append((f"x-ratelimit-limit-{name}", str(tightest.limit)))
        remaining.append(
            (f"x-ratelimit-remaining-{name}", str(max(0, tightest.remaining(boot_us))))
        )
        resets.append((f"x-ratelimit-reset-{name}", go_duration(tightest.full_us(boot_us))))
    return [*limits, *remaining, *resets]
