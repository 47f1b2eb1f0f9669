"""Page by cursor: a page says where the next one starts, so that new rows never shift old ones."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

import msgspec

from nemorouter import ids
from nemorouter.errors import NotFoundError, RefusedError

MAX_LIMIT: Final = 1000

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """Some of the rows, and the cursor of the rest (None = that was all)."""

    data: list[T]
    next_cursor: str | None = None


def checked(limit: int) -> int:
    """Return the page size if it may be asked for. RefusedError: it may not."""
    if not 1 <= limit <= MAX_LIMIT:
        raise RefusedError(f"limit must be between 1 and {MAX_LIMIT}.", field="limit")
    return limit


def page(rows: list[T], limit: int) -> tuple[list[T], T | None]:
    """Of ``limit + 1`` rows that were asked for: the page, and its last row if more follow."""
    return rows[:limit], rows[limit - 1] if len(rows) > limit else None


def cursor_id(prefix: str, cursor: str) -> int:
    """Return the id of a cursor. RefusedError: ``next_cursor`` never returned this text."""
    try:
        return ids.from_text(prefix, cursor)
    except ValueError:
        raise RefusedError(
            "cursor is not one that an answer gave as next_cursor.", field="cursor"
        ) from None


def cursor_numbers(cursor: str, count: int) -> Sequence[int]:
    """Return the numbers of a dotted cursor."""
    parts = cursor.split(".")
    if len(parts) != count or not all(
        part.isascii() and part.isdecimal() and len(part) < 20 for part in parts
    ):
        raise RefusedError("cursor is not one that an answer gave as next_cursor.", field="cursor")
    return [int(part) for part in parts]


async def every(ask: Callable[..., Awaitable[Page[T]]]) -> list[T]:
    """All rows, page by page: for command lines, which print them all."""
    found: list[T] = []
    cursor: str | None = None
    while True:
        some = await ask(limit=MAX_LIMIT, cursor=cursor)
        found += some.data
        cursor = some.next_cursor
        if cursor is None:
            return found


def sliced(rows: list[T], limit: int, cursor: str | None, name: str = "id") -> Page[T]:
    """Cut a page out of rows that are all there.

    The cursor is the ``name`` of the last row before the page.
    """
    start = 0
    if cursor is not None:
        names = [getattr(row, name) for row in rows]
        if cursor not in names:
            raise NotFoundError(
                "The row of this cursor is gone; begin with the first page.", field="cursor"
            )
        start = names.index(cursor) + 1
    found, after = page(rows[start : start + checked(limit) + 1], limit)
    return Page(data=found, next_cursor=getattr(after, name) if after is not None else None)
