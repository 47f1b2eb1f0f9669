"""Describe what leaves a journal: rows of the request log, and counts of refusals."""

from typing import Final, final

from _typeshed import structseq

@final
class Row(structseq[int | str | None], tuple[int | str | None, ...]):
    """Hold a row of the request log: a tuple with named fields.

    All but ``slot`` are columns of the table ``requests``, in its order.
    """

    __match_args__: Final = (
        "slot",
        "journal_id",
        "seq",
        "at_ms",
        "key_id",
        "team_id",
        "user_id",
        "org_id",
        "model",
        "upstream",
        "endpoint",
        "status",
        "outcome",
        "stream",
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "cost_nano",
        "reserved_nano",
        "latency_us",
        "ttft_us",
    )
    @property
    def slot(self) -> int:
        """Place in the journal, to be given back to Journal.free."""

    @property
    def journal_id(self) -> int:
        """Random 63-bit id of the journal."""

    @property
    def seq(self) -> int:
        """Number of the ticket in its journal; (journal_id, seq) is the id of the row for ever."""

    @property
    def at_ms(self) -> int:
        """Time of admission, Unix ms; it decides the budget window of every scope."""

    @property
    def key_id(self) -> int:
        """Id of the key."""

    @property
    def team_id(self) -> int:
        """Id of the key's team."""

    @property
    def user_id(self) -> int:
        """Id of the key's user, 0 = none."""

    @property
    def org_id(self) -> int:
        """Id of the key's org."""

    @property
    def model(self) -> str:
        """Name of the model."""

    @property
    def upstream(self) -> str:
        """Name of the upstream."""

    @property
    def endpoint(self) -> int:
        """Number of the endpoint (types.Endpoint)."""

    @property
    def status(self) -> int:
        """HTTP status of the answer, 0 = none."""

    @property
    def outcome(self) -> int:
        """Number of the outcome (types.Outcome)."""

    @property
    def stream(self) -> int:
        """1 if the answer was streamed."""

    @property
    def input_tokens(self) -> int:
        """Input tokens."""

    @property
    def cached_tokens(self) -> int:
        """Input tokens that the provider read from a cache (part of input_tokens)."""

    @property
    def output_tokens(self) -> int:
        """Output tokens."""

    @property
    def cost_nano(self) -> int | None:
        """Cost in nano-USD; None = the model had no price."""

    @property
    def reserved_nano(self) -> int:
        """Cost that was reserved at admission, nano-USD."""

    @property
    def latency_us(self) -> int:
        """Latency of the whole answer, microseconds."""

    @property
    def ttft_us(self) -> int | None:
        """Time to the first token, microseconds; None = none was seen."""

RefusalCount = tuple[int, int, int, int]
"""Refusals of a known key: (Unix minute, key id, errors.Code, count)."""
