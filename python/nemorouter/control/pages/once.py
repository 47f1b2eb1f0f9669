"""Let a form that is sent twice do its work once: a reload, a double click, "back" and again.

Each form that is drawn holds a new token. A second request with the token and the fields of the
first leads to what the first made. No secret is kept: what was shown once is not shown again.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from blake3 import blake3
from litestar.response import Redirect

from nemorouter.control.pages.forms import Form
from nemorouter.control.pages.frame import Frame
from nemorouter.control.pages.render import go
from nemorouter.errors import ConflictError
from nemorouter.services.transaction import idempotency

FIELD: Final = "once"
_BUSY: Final = (
    "This form was sent a moment ago. Look at the list: what it makes may be there already."
)

T = TypeVar("T")


async def once(
    frame: Frame, form: Form, work: Callable[[], Awaitable[T]], where: Callable[[T], str]
) -> T | Redirect:
    """Return what ``work`` makes; at the second time, a redirect to the page ``where`` it is shown.

    ConflictError: the first request is still at work.
    """
    if not form.text(FIELD):
        return await work()  # a program: it knows what it does
    key = _key(form)
    try:
        before = await idempotency.begin(frame.context, frame.actor, key, b"")
    except ConflictError as error:
        raise ConflictError(_BUSY) from error
    if before is not None:
        return go(before.answer.decode(), "made-before")
    try:
        made = await work()
    except Exception:
        await idempotency.forget(frame.context, frame.actor, key)
        raise
    await idempotency.finish(frame.context, frame.actor, key, 303, where(made).encode())
    return made


def _key(form: Form) -> str:
    """Of token and fields together: who goes back and types something else means something else."""
    text = "\0".join(
        f"{name}\0{value}" for name, values in sorted(form.lists.items()) for value in values
    )
    return "form:" + blake3(text.encode("utf-8", "replace")).hexdigest()
