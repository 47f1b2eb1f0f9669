"""Make secrets that travel once: cookies, links, management keys. The store keeps keyed hashes.

Each purpose hashes in a domain of its own, so that a token of one never stands for another.
"""

import secrets
from collections.abc import Sequence
from typing import Final

from blake3 import blake3

from nemorouter.datadir.secrets import Pepper

_BYTES: Final = 32
MAX_LENGTH: Final = 128


def new_token() -> str:
    """256 random bits, fit for a cookie and a URL."""
    return secrets.token_urlsafe(_BYTES)


def digest(purpose: str, token: str, pepper: Pepper) -> bytes:
    """Return the hash of ``token`` that the store keeps."""
    return blake3(f"nemorouter {purpose}\0{token}".encode(), key=pepper[1]).digest()


def digests(purpose: str, token: str, peppers: Sequence[Pepper]) -> list[bytes]:
    """List the hashes under which a token may be stored: one for each valid pepper.

    A text that cannot be a token has none.
    """
    if not token or len(token) > MAX_LENGTH or not token.isascii():
        return []
    return [digest(purpose, token, pepper) for pepper in peppers]
