"""Check one request in the contract's order. Each check reads and none writes.

The gate charges afterwards.
"""

from collections.abc import Sequence

from nemorouter.errors import Code
from nemorouter.reference.bucket import Bucket
from nemorouter.reference.scope import Scope
from nemorouter.reference.values import Refusal
from nemorouter.reference.windows import Window, ahead, window_at, window_start_ms
from nemorouter.types import RATES, ModelPrice, Status


def standing(key: Scope, wall_ms: int) -> int:
    """Return the code against status or expiry of the key, then of its owners, or 0."""
    if key.policy.status != Status.ACTIVE:
        return Code.KEY_REVOKED
    if _is_expired(key, wall_ms):
        return Code.KEY_EXPIRED
    for scope in key.payers:
        if scope.policy.status != Status.ACTIVE or _is_expired(scope, wall_ms):
            return Code.OWNER_DISABLED
    return 0


def _is_expired(scope: Scope, wall_ms: int) -> bool:
    expires_ms = scope.policy.expires_ms
    return expires_ms is not None and expires_ms <= wall_ms


def model_refusal(key: Scope, model: str, price: ModelPrice | None) -> int:
    """Code against the model, or 0. A model without a price cannot be budgeted."""
    if not may_use(key, model):
        return Code.MODEL_NOT_ALLOWED
    if price is None and any(scope.policy.cap is not None for scope in key.payers):
        return Code.MODEL_PRICE_UNKNOWN
    return 0


Charge = tuple[Bucket, int]
"""A bucket, and its word once the request has taken what it costs."""


def rate_charges(key: Scope, tokens: int, boot_us: int) -> list[Charge] | Refusal:
    """Return what to take from the rates of all scopes, or the refusal of the first one short."""
    charges: list[Charge] = []
    for scope in key.payers:
        for rate, (bucket, n) in enumerate(zip(scope.buckets, needs(tokens), strict=True)):
            if bucket is None:
                continue
            word = bucket.decide(n, boot_us)
            if word is None:
                return _limited(rate, bucket.limit, scope, key, tokens, boot_us)
            charges.append((bucket, word))
    return charges


def needs(tokens: int) -> list[int]:
    """Return what a request of ``tokens`` takes from each of RATES."""
    return [1 if rate.resource == "requests" else tokens for rate in RATES]


def may_use(key: Scope, model: str) -> bool:
    """Check that the lists of all scopes allow the model."""
    return all(scope.allows_model(model) for scope in key.payers)


def budget_refusal(key: Scope, cost: int, windows: Sequence[Window]) -> Refusal | None:
    """Budgets of key, team, user and org. A frozen word answers that it is not ready."""
    for scope, window in zip(key.payers, windows, strict=True):
        if scope.frozen:
            return Refusal(Code.NOT_READY, key.index)
        cap = scope.policy.cap
        if cap is not None and scope.committed_in(window) + cost > cap:
            return Refusal(
                Code.BUDGET_EXCEEDED,
                key.index,
                scope.policy.kind,
                limit=cap,
                used=scope.committed_in(window),
            )
    return None


def book(key: Scope, wall_ms: int) -> tuple[int, list[Window]]:
    """Return the one time of a request, and the window of each payer then.

    It is now, or the start of a later window that a word is in already since the wall clock was set
    back.
    """
    at_ms = wall_ms
    while True:
        windows = [window_at(scope.policy.duration, at_ms) for scope in key.payers]
        later = [
            window_start_ms(scope.window)
            for scope, window in zip(key.payers, windows, strict=True)
            if scope.window != window and ahead(scope.window, window) > 0
        ]
        if not later:
            return at_ms, windows
        at_ms = max(later)


def _limited(rate: int, limit: int, scope: Scope, key: Scope, tokens: int, boot_us: int) -> Refusal:
    """Return the refusal by one bucket.

    Its wait is that of the whole request, so that a retry then succeeds.
    """
    waits = [
        bucket.wait_us(n, boot_us)
        for level in key.payers
        for bucket, n in zip(level.buckets, needs(tokens), strict=True)
        if bucket is not None
    ]
    longest = None if None in waits else max(wait for wait in waits if wait is not None)
    code = Code[RATES[rate].code.upper()]
    return Refusal(code, key.index, scope.policy.kind, rate, limit, 0, longest)
