"""Read a key from an Authorization value, and hash a key. It must never log or keep one."""

import re
from typing import Protocol

from blake3 import blake3

_BEARER = re.compile(rb"(?i:bearer) +(sk-nemo-[A-Za-z0-9]{20})")


class Client(Protocol):
    """A caller whose address is known: ``client`` is ``ip:port``."""

    client: str


def address(client: str) -> str:
    """Return the address in ``ip:port``."""
    return client.rpartition(":")[0].strip("[]")


def trimmed(authorization: str | bytes | None) -> bytes:
    """Return the header's value without the blanks around it; no header is an empty value."""
    if isinstance(authorization, str):
        authorization = authorization.encode("utf-8", "surrogatepass")
    return authorization.strip(b" \t") if authorization else b""


def bearer_key(value: bytes) -> bytes | None:
    """Return the key in a trimmed value; None unless it is one well-formed ``Bearer sk-nemo-…``."""
    match = _BEARER.fullmatch(value)
    return match[1] if match else None


def parse_key(authorization: str | bytes) -> str | None:
    """Return the key in an Authorization value.

    None: the value is not exactly one well-formed ``Bearer sk-nemo-…``.
    """
    key = bearer_key(trimmed(authorization))
    return None if key is None else key.decode("ascii")


def hash_key(key: str | bytes, pepper: bytes) -> bytes:
    """Keyed BLAKE3 of a whole key under a 32-byte pepper."""
    return blake3(key.encode() if isinstance(key, str) else key, key=pepper).digest()
