"""Decide in pure Python: identify, admit, settle, under one lock. The oracle of the native gate."""

from collections.abc import Sequence

from nemorouter.errors import Code, TicketError
from nemorouter.reference import verdict
from nemorouter.reference.arena import Arena
from nemorouter.reference.clock import Clock
from nemorouter.reference.cost import TOKENS_MAX, cost, reserved_tokens, units
from nemorouter.reference.credential import Client, address, bearer_key, hash_key, trimmed
from nemorouter.reference.headers import rate_headers
from nemorouter.reference.journal import Journal
from nemorouter.reference.scope import Scope
from nemorouter.reference.slot import Slot, State
from nemorouter.reference.values import Refusal
from nemorouter.types import MAX_MODEL_BYTES, RATES, Endpoint, Outcome

_PEPPER_BYTES = 32


class Gate:
    """Same interface and same answers as ``nemorouter.Gate``, with the memory of one process.

    ``peppers``: up to two (id, 32 bytes), the current one first. A given clock becomes the arena's
    too.
    """

    def __init__(
        self,
        arena: Arena,
        journal: Journal,
        peppers: Sequence[tuple[int, bytes]],
        clock: Clock | None = None,
    ) -> None:
        if not 1 <= len(peppers) <= 2 or any(len(pepper) != _PEPPER_BYTES for _, pepper in peppers):
            raise ValueError("one or two peppers of 32 bytes are needed")
        if clock is not None:
            arena.clock = clock
        journal.lock = arena.lock
        self.arena = arena
        self.journal = journal
        self._peppers = [pepper for _, pepper in peppers]
        self._lock = arena.lock
        self._read_clocks = arena.clock.read

    def identify(
        self, authorization: str | bytes | None, client: str | Client, endpoint: int
    ) -> int:
        """Index of the live key that may call ``endpoint`` from ``client``; else -errors.Code."""
        with self._lock:
            value = trimmed(authorization)
            if not value:
                return self._no_key(Code.MISSING_API_KEY)
            secret = bearer_key(value)
            if secret is None:
                return self._no_key(Code.KEY_MALFORMED)
            key = self._look_up(secret)
            if key is None:
                return self._no_key(Code.KEY_UNKNOWN)
            wall_ms = self._read_clocks()[1]
            code = verdict.standing(key, wall_ms) or _source_refusal(key, client, endpoint)
            if code:
                self.journal.refused(code, key.policy.id, wall_ms)
                return -code
            return key.index

    def admit(
        self,
        index: int,
        model: str,
        endpoint: int,
        upstream: int,
        prompt_bytes: int,
        max_tokens: int | None,
        choices: int,
        stream: bool,
        stored_input: int = 0,
    ) -> int | Refusal:
        """Reserve a request, its tokens and their price at every level, or nothing.

        Return the ticket, or the refusal.
        """
        if not 0 < len(model.encode()) <= MAX_MODEL_BYTES or "\0" in model:
            raise ValueError(f"a model's name has 1 to {MAX_MODEL_BYTES} bytes and no NUL")
        with self._lock:
            boot_us, wall_ms = self._read_clocks()
            key = self.arena.records[index]
            price = self.arena.prices.get(model)
            known = price if price is not None and price.input is not None else None
            code = verdict.standing(key, wall_ms) or verdict.model_refusal(key, model, known)
            if code:
                return self._refuse(key, Refusal(code, index), wall_ms)
            tokens_in, tokens_out = reserved_tokens(
                price, endpoint, prompt_bytes, max_tokens, choices
            )
            unit_count = units(endpoint, choices)
            most_in = min(TOKENS_MAX, tokens_in + stored_input)
            nano = 0 if known is None else cost(known, most_in, 0, tokens_out, unit_count)
            at_ms, windows = verdict.book(key, wall_ms)
            charges = verdict.rate_charges(key, tokens_in + tokens_out, boot_us)
            if isinstance(charges, Refusal):
                return self._refuse(key, charges, wall_ms)
            refusal = verdict.budget_refusal(key, nano, windows)
            if refusal is None and not self.journal.free_slots:
                refusal = Refusal(Code.OVERLOADED, index)
            if refusal is not None:
                return self._refuse(key, refusal, wall_ms)
            for bucket, word in charges:
                bucket.word = word
            for scope, window in zip(key.payers, windows, strict=True):
                scope.commit(window, nano)
            seq = self.journal.next_seq()
            taken = [
                (scope, rate)
                for scope in key.payers
                for rate, bucket in enumerate(scope.buckets)
                if bucket is not None and RATES[rate].resource == "tokens"
            ]
            sizes = (tokens_in, tokens_out, nano)
            slot = Slot(
                seq,
                at_ms,
                key.payers,
                taken,
                model,
                endpoint,
                upstream,
                stream,
                unit_count,
                known,
                *sizes,
            )
            self.journal.add(slot)
            return seq

    def settle(
        self,
        ticket: int,
        input: int,
        cached: int,
        output: int,
        status: int,
        outcome: int,
        latency_us: int,
        ttft_us: int | None,
    ) -> int | None:
        """End a ticket with the upstream's true usage; return its cost in nano-USD.

        None: the model has no price.
        """
        with self._lock:
            slot = self._open_slot(ticket)
            input = min(input, TOKENS_MAX)
            output = min(output, TOKENS_MAX)
            slot.input = input
            slot.cached = min(cached, input)
            slot.output = output
            slot.status = status
            slot.outcome = outcome
            slot.latency_us = latency_us
            slot.ttft_us = ttft_us
            if slot.price is not None:
                produced = outcome == Outcome.OK or input or output
                slot.cost = (
                    cost(slot.price, input, slot.cached, output, slot.units) if produced else 0
                )
            _correct(slot, self._read_clocks()[0])
            self.journal.counts["settled"] += 1
            return slot.cost

    def may_use(self, index: int, model: str) -> bool:
        """Check that the key is live, and that its own and its owners' lists allow ``model``."""
        key = self.arena.records[index]
        return not verdict.standing(key, self._read_clocks()[1]) and verdict.may_use(key, model)

    def rate_headers(self, index: int) -> list[tuple[str, str]]:
        """Return OpenAI's x-ratelimit-* pairs of the tightest level, as of now.

        A resource without any limit is left out.
        """
        with self._lock:
            boot_us = self._read_clocks()[0]
            scopes = self.arena.records[index].payers
            return rate_headers([scope.buckets for scope in scopes], boot_us)

    def request_id(self, ticket: int | None) -> str:
        """``req_`` + 32 hex digits: journal_id and seq of the ticket, or a fresh number for -1."""
        if ticket is None:
            with self._lock:
                ticket = self.journal.next_seq()
        return f"req_{self.journal.journal_id:016x}{ticket:016x}"

    def recorded(self, ticket: int) -> bool:
        """Return whether the ticket's slot was freed."""
        with self._lock:
            return ticket not in self.journal.live

    def reserved(self, ticket: int) -> tuple[int, int]:
        """Tokens of input (estimate) and of output that the ticket reserved."""
        with self._lock:
            slot = self._open_slot(ticket)
            return slot.reserved_in, slot.reserved_out

    def now_us(self) -> int:
        """Read the journal_id clock in microseconds."""
        return self._read_clocks()[0]

    def _look_up(self, secret: bytes) -> Scope | None:
        for pepper in self._peppers:
            key = self.arena.keys.get(hash_key(secret, pepper))
            if key is not None:
                return key
        return None

    def _open_slot(self, ticket: int) -> Slot:
        slot = self.journal.live.get(ticket)
        if slot is None or slot.state != State.OPEN:
            raise TicketError(f"ticket {ticket} was ended before, or never existed")
        return slot

    def _no_key(self, code: int) -> int:
        self.journal.refused(code, None, 0)
        return -code

    def _refuse(self, key: Scope, refusal: Refusal, wall_ms: int) -> Refusal:
        self.journal.refused(refusal.code, key.policy.id, wall_ms)
        return refusal


def _source_refusal(key: Scope, client: str | Client, endpoint: int) -> int:
    """Return the code against where a request comes from or goes to, or 0.

    The list of models is open to every key.
    """
    source = client if isinstance(client, str) else address(client.client)
    if not all(scope.allows_ip(source) for scope in key.payers):
        return Code.KEY_WRONG_IP
    if endpoint != Endpoint.MODELS and not all(
        scope.allows_endpoint(endpoint) for scope in key.payers
    ):
        return Code.ENDPOINT_NOT_ALLOWED
    return 0


def _correct(slot: Slot, now_us: int) -> None:
    """Bring every meter from what was reserved to what was used, and end the slot."""
    over = slot.input + slot.output - slot.reserved_in - slot.reserved_out
    for scope, rate in slot.charged:
        bucket = scope.buckets[rate]
        if bucket is None:
            continue  # unlimited by now: whatever limit comes next begins full
        if over > 0:
            bucket.owe(over, now_us)
        else:
            bucket.give(-over)
    slot.state = State.ENDED
    difference = (slot.cost or 0) - slot.reserved_cost
    if difference == 0:
        return
    for scope in slot.payers:
        if scope.frozen:
            slot.state = State.DEFERRED  # the recount will see its true cost
        else:
            scope.correct(slot.at_ms, difference)
