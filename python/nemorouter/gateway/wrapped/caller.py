"""Define what the wrapped app finds under ``nemorouter`` in its state."""

from nemorouter._core import MOST_TOKENS, Arena, Exchange
from nemorouter.errors import TicketError
from nemorouter.ids import to_text


class Caller:
    """The caller of an admitted request, and where the app reports usage."""

    __slots__ = ("_exchange", "_identity", "request_id")

    def __init__(self, exchange: Exchange, arena: Arena) -> None:
        self._exchange = exchange
        self._identity = arena.identity(exchange.index)
        self.request_id = exchange.request_id

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
        """Count tokens that this request used; call it before the answer ends.

        ``cached`` is part of ``input``. TicketError: the request has ended.
        """
        if not all(
            type(count) is int and 0 <= count <= MOST_TOKENS for count in (input, output, cached)
        ):
            raise ValueError(f"token counts are integers from 0 to {MOST_TOKENS}")
        if not self._exchange.report(input, cached, output):
            raise TicketError(
                f"{self.request_id} has ended; report usage before the answer's last byte."
            )
