"""Passwords of people: argon2id, off the event loop."""

import asyncio
from typing import Final

from argon2 import PasswordHasher, Type

_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)


async def hash_password(password: str) -> str:
    """The argon2id string that the store keeps."""
    return await asyncio.to_thread(_HASHER.hash, password)
