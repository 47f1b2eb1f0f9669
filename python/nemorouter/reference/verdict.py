"""The checks of one request, in the contract's order. Each reads and none writes; the gate charges afterwards."""

from nemorouter.errors import Code
from nemorouter.reference.bucket import Bucket
from nemorouter.reference.scope import Scope
from nemorouter.reference.values import Refusal
from nemorouter.reference.windows import ahead, window_at, window_start_ms
from nemorouter.types import ModelPrice, Status


def standing(key: Scope, wall_ms: int) -> int:
    """Code against the key itself or its owners, or 0."""
    policy = key.policy
    if policy.status != Status.ACTIVE:
        return Code.KEY_REVOKED
    if policy.expires_ms is not None and policy.expires_ms <= wall_ms:
        return Code.KEY_EXPIRED
    for scope in key.payers:
        if scope.policy.status != Status.ACTIVE:
            return Code.OWNER_DISABLED
    return 0


def model_refusal(key: Scope, model: str, price: ModelPrice | None) -> int:
    """Code against the model, or 0. A model without a price cannot be budgeted."""
    if not may_use(key, model):
        return Code.MODEL_NOT_ALLOWED
    if price is None and any(scope.policy.cap is not None for scope in key.payers):
        return Code.MODEL_PRICE_UNKNOWN
    return 0


def rate_refusal(key: Scope, tokens: int, boot_us: int) -> Refusal | None:
    """RPM and TPM of key, team and org."""
    for scope in key.levels:
        if scope.rpm is not None and not scope.rpm.fits(1, boot_us):
            return _limited(Code.RATE_LIMIT_EXCEEDED, scope.rpm, scope, key, tokens, boot_us)
        if scope.tpm is not None and not scope.tpm.fits(tokens, boot_us):
            return _limited(Code.TPM_LIMIT_EXCEEDED, scope.tpm, scope, key, tokens, boot_us)
    return None


def may_use(key: Scope, model: str) -> bool:
    """True if the allow-lists of the key and its team allow the model."""
    return key.allows_model(model) and key.levels[1].allows_model(model)


def budget_refusal(key: Scope, cost: int, at_ms: int) -> Refusal | None:
    """Budgets of key, team, user and org. A frozen word answers that it is not ready."""
    for scope in key.payers:
        if scope.frozen:
            return Refusal(Code.NOT_READY, key.index)
        cap = scope.policy.cap
        if cap is not None:
            committed = scope.committed_in(window_at(scope.policy.duration, at_ms))
            if committed + cost > cap:
                return Refusal(Code.BUDGET_EXCEEDED, key.index, scope.policy.kind, cap, committed)
    return None


def admission_time(key: Scope, wall_ms: int) -> int:
    """The time that decides every scope's window: now, or the start of the window that a word has already reached."""
    at_ms = wall_ms
    moved = True
    while moved:
        moved = False
        for scope in key.payers:
            if ahead(scope.window, window_at(scope.policy.duration, at_ms)) > 0:
                at_ms = window_start_ms(scope.window)
                moved = True
    return at_ms


def _limited(code: int, bucket: Bucket, scope: Scope, key: Scope, tokens: int, boot_us: int) -> Refusal:
    """The refusal by one bucket; its wait is that of the whole request, so that a retry then succeeds."""
    longest = 0
    for level in key.levels:
        for each, n in ((level.rpm, 1), (level.tpm, tokens)):
            wait = 0 if each is None else each.wait_us(n, boot_us)
            if wait is None:
                return Refusal(code, key.index, scope.policy.kind, bucket.limit, 0, None)
            longest = max(longest, wait)
    return Refusal(code, key.index, scope.policy.kind, bucket.limit, 0, longest)
