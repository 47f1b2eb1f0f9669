"""Authenticate keys with limits for LiteLLM, in its own environment and without a database."""

from fastapi import HTTPException, Request
from litellm.proxy._types import UserAPIKeyAuth  # type: ignore[import-not-found, unused-ignore]

_RPM = {"sk-nemo-" + "l" * 20: 10_000_000, "sk-nemo-" + "f" * 20: 5, "sk-nemo-" + "n" * 20: 0}


async def user_api_key_auth(request: Request, api_key: str) -> UserAPIKeyAuth:
    """Return a key with its requests and tokens a minute; HTTPException (401) if it is unknown."""
    limit = _RPM.get(api_key)
    if limit is None:
        raise HTTPException(status_code=401, detail="Invalid API key provided.")
    return UserAPIKeyAuth(api_key=api_key, rpm_limit=limit, tpm_limit=1_000_000_000)
