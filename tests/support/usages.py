"""Usage as the native scanner and reader tell it, in the terms of the model."""

from nemorouter._core import Scanner, Usage, read_answer
from tests.support import stream_model as model
from tests.support import usage_model


class Bill:
    """The costs of streams, for a scanner. ``asked`` holds the usages."""

    def __init__(self, cost: str | None = None) -> None:
        self.asked: list[usage_model.Usage | None] = []
        self.cost = cost

    def __call__(self, usage: Usage) -> str | None:
        self.asked.append(parts(usage))
        return self.cost


def parts(usage: Usage | None) -> usage_model.Usage | None:
    """Convert a native usage to the model's."""
    if usage is None:
        return None
    return usage_model.Usage(
        **{name: getattr(usage, name) for name in usage_model.Usage.__dataclass_fields__}
    )


def told(scanner: Scanner) -> model.Told:
    """Convert what a scanner knows to the model's terms."""
    return model.Told(
        parts(scanner.usage), scanner.produced, scanner.outran, scanner.done, scanner.failed
    )


def tokens(usage: Usage | None) -> tuple[int, int, int]:
    """Return the tokens of input, of cached input and of output of a usage that tells them."""
    assert usage is not None
    assert usage.input is not None
    assert usage.output is not None
    return usage.input, usage.cached, usage.output


def tokens_of(body: bytes) -> tuple[int, int, int]:
    """Return the tokens that a whole answer tells."""
    answer = read_answer(body)
    assert answer is not None
    return tokens(answer[0])
