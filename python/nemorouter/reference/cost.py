"""Compute tokens and nano-USD of one request: what is reserved for it, and what it cost.

Integers, rounded up, pure.
"""

from nemorouter.types import Endpoint, ModelPrice

TOKENS_MAX = (1 << 53) - 1
"""Largest number of tokens a reservation or a settlement counts."""

AMOUNT_MAX = (1 << 54) - 1
"""Largest amount of a cost or a money word, nano-USD; far above any cap."""

DEFAULT_MAX_OUTPUT = 4096
"""Output tokens reserved for a model without a price row when the client states no maximum."""

_MILLION = 1_000_000
_WRITES_TOKENS = frozenset({Endpoint.CHAT_COMPLETIONS, Endpoint.COMPLETIONS, Endpoint.RESPONSES})


def reserved_tokens(
    price: ModelPrice | None, endpoint: int, prompt_bytes: int, max_tokens: int | None, choices: int
) -> tuple[int, int]:
    """Upper estimates of the input and output tokens of a request."""
    tokens_in = min(TOKENS_MAX, (prompt_bytes + 3) // 4)
    pictures = endpoint == Endpoint.IMAGES_GENERATIONS and _is_dear(price)
    if endpoint not in _WRITES_TOKENS and not pictures:
        return tokens_in, 0
    if max_tokens is None:
        max_tokens = DEFAULT_MAX_OUTPUT if price is None else price.max_output
    return tokens_in, min(TOKENS_MAX, choices * max_tokens)


def _is_dear(price: ModelPrice | None) -> bool:
    """Return whether output has a known price."""
    return price is not None and price.input is not None and price.output > 0


def units(endpoint: int, choices: int) -> int:
    """Return how often the request price is due: once per image, else once."""
    return choices if endpoint == Endpoint.IMAGES_GENERATIONS else 1


def cost(price: ModelPrice, tokens_in: int, cached: int, tokens_out: int, unit_count: int) -> int:
    """Nano-USD of the tokens; ``cached`` is part of ``tokens_in``. The price must be known."""
    per_input = price.input or 0
    per_cached = per_input if price.cached is None else price.cached
    millionths = (tokens_in - cached) * per_input + cached * per_cached + tokens_out * price.output
    return min(AMOUNT_MAX, -(-millionths // _MILLION) + price.request * unit_count)
