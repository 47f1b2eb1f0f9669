"""The few fields of a body that the decision needs; the bytes themselves go upstream unread.

The limiter and the upstream must see the same values, so a body that two parsers could read
differently is refused.
"""

import msgspec

from nemorouter._core import Peek

NO_MODEL = Peek.nothing()
"""Stands for a request that calls no model, on a path that is guarded all the same. Where a budget
applies, ``-`` needs a price as any model does.
"""


def with_usage(body: bytes) -> bytes:
    """The same request, asking for a usage chunk at the stream's end. Other fields keep their
    bytes.
    """
    if b'"stream_options"' not in body and b"\\u" not in body:
        start = body.index(b"{") + 1
        return b'%b"stream_options":{"include_usage":true},%b' % (body[:start], body[start:])
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    options = (
        msgspec.json.decode(
            fields.get("stream_options", b"null"), type=dict[str, msgspec.Raw] | None
        )
        or {}
    )
    options["include_usage"] = msgspec.Raw(b"true")
    fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return msgspec.json.encode(fields)
