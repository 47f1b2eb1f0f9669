"""A wrapped app's answer, seen passing by: its usage, its end, its cost. For ASGI and RSGI alike."""

from nemorouter._core import Call
from nemorouter.errors import TicketError
from nemorouter.gateway.peek import NO_MODEL
from nemorouter.ids import to_text
from nemorouter.types import Outcome
from nemorouter.upstream import usage
from nemorouter.upstream.sse import Scanner

_LARGEST = 8 * 1024 * 1024
"""Bytes of a JSON answer that comes in pieces which are kept to read its usage."""


class Caller:
    """What the wrapped app finds under ``nemorouter`` in its state: who calls, and where to report usage."""

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
        if not all(type(count) is int and 0 <= count <= usage.MOST for count in (input, output, cached)):
            raise ValueError(f"token counts are integers from 0 to {usage.MOST}")
        if self._call.ended:
            raise TicketError(f"{self.request_id} has ended; report usage before the answer's last byte.")
        self._call.usage = input, min(cached, input), output


class Observed:
    """One answer: ``whole``, or ``piece`` after ``piece`` and then ``last``. Usage that the app reported goes first."""

    __slots__ = ("_call", "_kept", "_scanner", "_status")

    def __init__(self, call: Call, status: int, content_type: str) -> None:
        self._call = call
        self._status = status
        events = status < 400 and content_type.startswith("text/event-stream")
        self._scanner = Scanner(call.bill, strip=False) if events else None
        self._kept = bytearray() if "json" in content_type else None

    def whole(self, body: bytes) -> None:
        """Settle a whole answer."""
        self._learn(body)
        self._end()

    def piece(self, data: bytes) -> bytes:
        """What the client shall get for a piece."""
        self._call.begun()
        self._call.status = self._status
        if self._scanner is not None:
            data = self._scanner.feed(data)
            self._take_over(self._scanner)
        elif self._kept is not None:
            self._kept += data
            if len(self._kept) > _LARGEST:
                self._kept = None
        return data

    def last(self) -> bytes:
        """Settle an answer in pieces; what the client shall still get."""
        left = b""
        if self._scanner is not None:
            left = self._scanner.flush()
            self._take_over(self._scanner)
        elif self._kept is not None:
            self._learn(bytes(self._kept))
        self._end()
        return left

    def _take_over(self, scanner: Scanner) -> None:
        self._call.produced = scanner.produced
        self._call.usage = self._call.usage or scanner.usage

    def _learn(self, body: bytes) -> None:
        call = self._call
        if call.usage is None and self._status < 400 and call.peek is not NO_MODEL:
            call.usage = usage.read(body)
            if call.usage is None:
                call.produced = usage.produced(body)

    def _end(self) -> None:
        call = self._call
        if call.usage is None and call.peek is NO_MODEL:
            call.usage = 0, 0, 0  # the request alone is counted
        call.end(Outcome.OK if self._status < 400 else Outcome.UPSTREAM_ERROR, self._status)
