"""Count and cut text in echo's tokens of four characters.

The tokens of a prompt never exceed a quarter of the bytes of its body.
"""

from typing import Annotated, Any

import msgspec

MOST = 256
"""Tokens of an answer where the client sets no maximum."""

Tokens = Annotated[int, msgspec.Meta(ge=0)] | None


class Part(msgspec.Struct, gc=False):
    """One part of a message's content; only text is echoed."""

    text: str | None = None


class Message(msgspec.Struct, gc=False):
    """One message of a conversation."""

    role: str = ""
    content: str | list[Part] | None = None

    def text(self) -> str:
        """Its text, parts joined."""
        content = self.content
        if isinstance(content, str):
            return content
        return "".join(part.text or "" for part in content or ())


def count(text: str) -> int:
    """Count the tokens of a prompt as the reservation does: its UTF-8 bytes / 4, rounded up."""
    return -(-(len(text) if text.isascii() else len(text.encode())) // 4)


def cut(text: str, most: int | None) -> tuple[str, int, bool]:
    """Cut ``text`` to ``most`` tokens; return the text, its tokens, and true if it was cut."""
    tokens = -(-len(text) // 4)
    limit = MOST if most is None else most
    return (text, tokens, False) if tokens <= limit else (text[: limit * 4], limit, True)


def pieces(text: str) -> list[str]:
    """Split a text into its tokens."""
    return [text[at : at + 4] for at in range(0, len(text), 4)]


def event(data: Any) -> bytes:  # noqa: ANN401 - JSON edge
    """One server-sent event."""
    return b"data: %b\n\n" % msgspec.json.encode(data)


DONE = b"data: [DONE]\n\n"
CREATED = 1_704_067_200
"""The time in every answer: the same request gets the same bytes."""
