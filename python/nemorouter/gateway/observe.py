"""A wrapped app's answer, seen passing by: its usage, its end, its cost. For ASGI and RSGI alike."""

from nemorouter._core import MOST_TOKENS, Call, Scanner, produced, read_usage
from nemorouter.errors import TicketError
from nemorouter.gateway.peek import NO_MODEL
from nemorouter.ids import to_text
from nemorouter.types import Outcome

_LARGEST = 8 * 1024 * 1024
"""Bytes of a JSON answer that comes in pieces which are kept to read its usage."""


class Caller:
    """What the wrapped app finds under ``nemorouter`` in its state: who calls, and where to report
    usage.
    """

    __slots__ = ("_call", "_identity", "request_id")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._identity = call.gate.arena.identity(call.index)
        self.request_id = call.request_id

    @property
    def key_id(self) -> str:
        return to_text("key", self._identity.id)

    @property
    def key_name(self) -> str:
        return self._identity.name

    @property
    def alias(self) -> str:
        """``sk-...`` and the key's last four characters."""
        return f"sk-...{self._identity.last4}"

    @property
    def org_id(self) -> str:
        return to_text("org", self._identity.org)

    @property
    def team_id(self) -> str:
        return to_text("team", self._identity.team)

    @property
    def user_id(self) -> str | None:
        return to_text("user", self._identity.user) if self._identity.user else None

    def report_usage(self, input: int, output: int, cached: int = 0) -> None:
        """Tokens that this request used; before the answer ends. ``cached`` is part of ``input``."""
        if not all(
            type(count) is int and 0 <= count <= MOST_TOKENS for count in (input, output, cached)
        ):
            raise ValueError(f"token counts are integers from 0 to {MOST_TOKENS}")
        if self._call.ended:
            raise TicketError(
                f"{self.request_id} has ended; report usage before the answer's last byte."
            )
        self._call.usage = input, min(cached, input), output


class Observed:
    """One answer: ``whole``, or ``piece`` after ``piece`` and then ``last``. Usage that the app
    reported goes first.
    """

    __slots__ = ("_call", "_kept", "_scanner", "_status")

    def __init__(self, call: Call, status: int, content_type: str) -> None:
        self._call = call
        self._status = status
        events = status < 400 and content_type.startswith("text/event-stream")
        self._scanner = Scanner(call, strip=False) if events else None
        self._kept = bytearray() if "json" in content_type else None

    def whole(self, body: bytes) -> None:
        """Settle a whole answer."""
        self._learn(body)
        self._end()

    def piece(self, data: bytes) -> bytes:
        """What the client shall get for a piece."""
        if self._scanner is not None:
            return self._scanner.feed(bytes(data))  # a bytearray would do, too
        self._call.begun()
        if self._kept is not None:
            self._kept += data
            if len(self._kept) > _LARGEST:
                self._kept = None
        return data

    def last(self) -> bytes:
        """Settle an answer in pieces; what the client shall still get."""
        left = b""
        if self._scanner is not None:
            left = self._scanner.flush()
            self.tell()
        elif self._kept is not None:
            self._learn(bytes(self._kept))
        self._end()
        return left

    def tell(self) -> None:
        """Tell the call what a stream showed so far: whatever ends it, that is charged."""
        if self._scanner is not None:
            self._call.produced = self._scanner.produced
            self._call.usage = self._call.usage or self._scanner.usage

    def _learn(self, body: bytes) -> None:
        call = self._call
        if call.usage is None and self._status < 400 and call.peek is not NO_MODEL:
            call.usage = read_usage(body)
            if call.usage is None:
                call.produced = produced(body)

    def _end(self) -> None:
        call = self._call
        if call.usage is None and call.peek is NO_MODEL:
            call.usage = 0, 0, 0  # the request alone is counted
        call.end(Outcome.OK if self._status < 400 else Outcome.UPSTREAM_ERROR, self._status)
