"""Response headers that every answer under /v1 carries, and how their values are written."""

from nemorouter.gateway.wire import HeaderList
from nemorouter.types import NANO

REQUEST_ID = "x-nemo-request-id"
LATENCY = "x-nemo-latency-ms"


def usd(nano: int) -> str:
    """Nano-USD as a plain decimal of dollars, never in exponent form."""
    if nano < NANO:
        return "0." + str(NANO + nano)[1:]  # nearly always, and three times as quick as formatting
    return f"{nano // NANO}.{nano % NANO:09d}"


def milliseconds(microseconds: int) -> str:
    """Microseconds as a decimal of milliseconds."""
    return str(microseconds / 1000)


def ietf_headers(rates: HeaderList) -> HeaderList:
    """The IETF draft's RateLimit-Policy and RateLimit, from OpenAI's six."""
    values = dict(rates)
    policies, states = [], []
    for resource in ("requests", "tokens"):
        limit = values.get(f"x-ratelimit-limit-{resource}")
        if limit is not None:
            policies.append(f'"{resource}";q={limit};w=60')
            states.append(f'"{resource}";r={values[f"x-ratelimit-remaining-{resource}"]}')
    if not policies:
        return []
    return [("ratelimit-policy", ", ".join(policies)), ("ratelimit", ", ".join(states))]
