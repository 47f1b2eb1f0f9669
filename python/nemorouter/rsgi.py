"""Read the body of an RSGI request, so that one that broke off is never taken for a whole one."""

from typing import Any


async def read_body(scope: Any, connection: Any, most: int) -> bytes:  # noqa: ANN401 - Granian's
    """Read a body, or a little more than ``most`` bytes of it. EOFError: it broke off."""
    chunks = []
    size = 0
    empty = 0
    async for chunk in connection:
        empty = 0 if chunk else empty + 1
        size += len(chunk)
        chunks.append(bytes(chunk))
        if size > most:
            break
    announced = scope.headers.get("content-length")
    if announced is not None:
        whole = announced.isdecimal() and int(announced) <= size
    else:
        # Granian ends a body that broke off as it ends a whole one, but for one more empty chunk.
        # Under HTTP/2 an empty frame may be the last.
        whole = empty < 2 or scope.http_version.startswith("2")
    if not whole and size <= most:
        raise EOFError
    return b"".join(chunks)
