"""Hash passwords by argon2id, in a bounded queue off the event loop, at the lowest priority.

A process hashes one password at a time, so that a burst of sign-ins takes neither memory nor time
from requests.
"""

import asyncio
import os
import string
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib.resources import files
from typing import Final, TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from nemorouter.errors import BusyError, RefusedError

SHORTEST: Final = 8
LONGEST: Final = 1024
_QUEUE: Final = 256
_FEWEST: Final = 4
_NO_LETTERS: Final = string.digits + string.punctuation + " "
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
# Of a random password that nobody knows: what unknown people are compared with, so that they take
# as long as others.
_NOBODY: Final = (
    "$argon2id$v=19$m=19456,t=2,p=1"
    "$QTQL6fErrZAH28ugyK5GhA$gINikH9+UOf69hAdLhDLGmPfnUEkepZeVmc9hVxzEIA"
)

T = TypeVar("T")


def _yield_to_all() -> None:
    """Run this thread only on an idle core. Linux schedules each thread by itself."""
    with suppress(
        OSError
    ):  # a sandbox may forbid it; the process gives way to the workers all the same
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


_pool: Final = ThreadPoolExecutor(
    1, thread_name_prefix="nemorouter-argon2", initializer=_yield_to_all
)
_waiting = 0


async def hash_password(password: str) -> str:
    """Return the argon2id string that the store keeps. BusyError: too many wait."""
    return await _queued(lambda: _HASHER.hash(password))


async def verify_password(password: str, stored: str | None) -> bool:
    """Return true if the password matches the stored hash. BusyError: too many wait.

    Without a stored hash the answer is false, and takes as long.
    """
    matches = await _queued(
        lambda: _matches(password[: LONGEST + 1], _NOBODY if stored is None else stored)
    )
    return matches and stored is not None


def checked(password: str, field: str = "password") -> str:
    """Return the password if it may be chosen. RefusedError: it may not."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise RefusedError(
            f"The password must have {SHORTEST} to {LONGEST} characters.", field=field
        )
    try:
        password.encode()
    except UnicodeEncodeError:
        raise RefusedError(
            "The password holds characters that are not text.", field=field
        ) from None
    if is_common(password):
        raise RefusedError(
            "The password is one of the first that somebody would try. Choose another, such as "
            "four words at random.",
            field=field,
        )
    return password


def is_common(password: str) -> bool:
    """Return true for a frequent password, also in capitals and between digits or signs.

    So is one of fewer than four different characters.
    """
    folded = password.casefold().strip()
    stem = folded.strip(_NO_LETTERS)
    return len(set(folded)) < _FEWEST or bool({folded, stem} & _common())


@cache
def _common() -> frozenset[str]:
    text = files("nemorouter.services.access").joinpath("common_passwords.txt").read_text("ascii")
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))


def _matches(password: str, stored: str) -> bool:
    try:
        return _HASHER.verify(stored, password.encode("utf-8", "replace"))
    except (VerificationError, InvalidHashError):
        return False


async def _queued(work: Callable[[], T]) -> T:
    global _waiting
    if _waiting >= _QUEUE:
        raise BusyError(
            "Too many people sign in at this moment. Try again in a few seconds.", retry_s=5
        )
    _waiting += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_pool, work)
    finally:
        _waiting -= 1
