"""Describe how usage is read from answers, whole or in server-sent events."""

from collections.abc import Callable
from typing import final

@final
class Usage:
    """Hold the tokens that an answer used, as its provider tells them, read whole.

    A part that is not told is 0; None stands for a whole that is not told, or that cannot be true.
    """

    @property
    def input(self) -> int | None:
        """All tokens of input, those from and into a cache included."""

    @property
    def cached(self) -> int:
        """Tokens of input read from a cache."""

    @property
    def cache_write(self) -> int:
        """Tokens of input written to a cache, of whatever life."""

    @property
    def cache_write_1h(self) -> int:
        """Of these, tokens written to a cache that lives for an hour."""

    @property
    def audio_input(self) -> int: ...
    @property
    def image_input(self) -> int: ...
    @property
    def output(self) -> int | None:
        """All tokens of output, those of reasoning included."""

    @property
    def reasoning(self) -> int: ...
    @property
    def audio_output(self) -> int: ...
    @property
    def image_output(self) -> int: ...
    @property
    def total(self) -> int | None:
        """Input and output together."""

    @property
    def searches(self) -> int:
        """Searches in the web."""

    @property
    def cost(self) -> int | None:
        """What the provider says the answer cost, in nano-USD."""

    @property
    def doubtful(self) -> bool:
        """True if a number could not be true, and was left out or cut."""

@final
class Scanner:
    """Scan server-sent events on their way to a client.

    It finds usage, counts produced text, and drops or marks the usage chunk. Call ``feed`` with
    every chunk and pass on its result, then ``flush``.

    Chunks may break anywhere; only whole events are passed on. An event longer than 8 MiB passes as
    it comes. The last usage chunk is held back until the stream ends or produces more text; then
    ``bill`` is called with its usage, once in a stream, and the cost in USD that it returns is
    written into that chunk. With ``strip`` the client gets no usage chunks.
    """

    def __new__(cls, bill: Callable[[Usage], str | None], *, strip: bool) -> Scanner: ...
    def feed(self, chunk: bytes) -> bytes:
        """Return the events that are whole with this chunk, as the client shall see them.

        It is the chunk itself, where that may pass as it is.
        """

    def flush(self) -> bytes:
        """End the stream; return what is left.

        These are events that were held back, and one that lacks its empty line.
        """

    def abort(self) -> bytes:
        """End a stream that its provider broke off; return the events that were held back."""

    @property
    def usage(self) -> Usage | None:
        """The last usage that was told."""

    @property
    def produced(self) -> int:
        """Bytes of produced text: of the members that carry text, never of JSON around them."""

    @property
    def outran(self) -> bool:
        """True if text was produced after the last usage was told."""

    @property
    def done(self) -> bool:
        """True once the stream's last event came."""

    @property
    def failed(self) -> bool:
        """True if an event says that the answer failed, or the stream ended without an event."""
