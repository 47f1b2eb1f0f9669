"""Describe the native module: the decision, in shared memory.

``nemorouter.reference`` implements ``Gate``, ``Refusal``, ``Meters``, ``Identity`` and
``ManualClock`` in pure Python with the same meaning. Times: ``*_us`` microseconds, ``*_ms``
milliseconds. Money: nano-USD. A *scope index* is a record's place in the arena; it is never reused
while the arena lives. Native objects may be used from any thread; none of these calls releases the
GIL but the bulk ones (``Arena.put_many``, ``Arena.recount``, ``Journal.rows``).

The classes stand in parts in the folder ``_stubs``. ``make check`` compares all of it with the
built module.
"""

from typing import Final

from nemorouter._stubs.arena import Arena as Arena
from nemorouter._stubs.exchange import Exchange as Exchange
from nemorouter._stubs.exchange import Guard as Guard
from nemorouter._stubs.exchange import Proxies as Proxies
from nemorouter._stubs.exchange import Resource as Resource
from nemorouter._stubs.exchange import Routes as Routes
from nemorouter._stubs.exchange import Wait as Wait
from nemorouter._stubs.exchange import Whole as Whole
from nemorouter._stubs.exchange import Worker as Worker
from nemorouter._stubs.gate import Gate as Gate
from nemorouter._stubs.gate import Peek as Peek
from nemorouter._stubs.journal import Journal as Journal
from nemorouter._stubs.rows import RefusalCount as RefusalCount
from nemorouter._stubs.rows import Row as Row
from nemorouter._stubs.streams import Scanner as Scanner
from nemorouter._stubs.streams import Usage as Usage
from nemorouter._stubs.views import Bucket as Bucket
from nemorouter._stubs.views import Identity as Identity
from nemorouter._stubs.views import Lease as Lease
from nemorouter._stubs.views import ManualClock as ManualClock
from nemorouter._stubs.views import Meters as Meters
from nemorouter._stubs.views import Refusal as Refusal

LAYOUT: Final[int]
"""Version of the arena's and the journal's layout; a file of another layout is refused."""

CALLS: Final[list[tuple[str, int]]]
"""Paths of model calls below ``/v1``, with the numbers of ``types.Endpoint``."""
CREDENTIAL_HEADERS: Final[list[str]]
"""Headers that may carry a client's key, in lower case. None reaches an upstream or an app."""
FROM_UPSTREAM: Final[list[str]]
"""Beside its content type, the only headers of an upstream's answer that reach the client."""
FROM_UPSTREAM_ERROR: Final[list[str]]
"""What an error of an upstream carries beside ``FROM_UPSTREAM``."""
MOST_TOKENS: Final[int]
"""More tokens than any answer has; a usage that tells more is a fault, not a bill."""

RATES: Final[tuple[tuple[str, str, int, int, str], ...]]
"""The fields of ``types.RATES``, row by row: name, resource, period in seconds, most, code."""

MONEY: Final[int]
"""Number of the budget among the meters of a scope, as ``types.MONEY``."""

MAX_PRICES: Final[int]
"""Models whose price an arena holds at most."""

def read_answer(body: bytes) -> tuple[Usage | None, int, bool] | None:
    """Read the usage of a whole answer, the bytes of its text, and whether it is an error.

    None: the body is no JSON object.
    """

def peek(body: bytes, endpoint: int) -> Peek | tuple[int, str | None]:
    """Read the fields of a JSON body that a decision needs.

    Otherwise the result is the errors.Code of what is wrong with the body, and a message that names
    the field. A field that counts and is given twice, in whatever spelling, is wrong: two parsers
    could read it differently.
    """

def problem(code: int, message: str | None = None, *, asgi: bool = False) -> Whole:
    """Return an answer of the catalogue without a request's id."""

def catalogue() -> list[tuple[int, int, str, str, str]]:
    """Return the catalogue of refusals: number, status, type, code and message of each."""

def is_events(content_type: str) -> bool:
    """Tell whether a media type is an event stream's, in whatever case and with parameters."""

def looks_like_events(begin: bytes) -> bool:
    """Tell whether an answer without a media type begins as an event stream does."""

def no_such_model(name: str) -> str:
    """Say that nobody serves a model. A key in the place of a name is not repeated."""

def hash_key(key: str | bytes, pepper: bytes) -> bytes:
    """Hash a whole key: keyed BLAKE3 under a 32-byte pepper."""

def parse_key(authorization: str | bytes) -> str | None:
    """Return the key in an Authorization value.

    None: the value is not exactly one well-formed ``Bearer sk-nemo-…``.
    """

def echo_chat(body: bytes, identity: str) -> tuple[bytes, int, int] | None:
    """Answer a conversation of plain text as ``upstream.echo`` does.

    The result is the body, and its tokens of input and output; None where only ``upstream.echo``
    can answer. ``identity`` is that of the completion, without its prefix.
    """

def watch_for_end(masters: list[int], limit_s: float, grace_s: float) -> int:
    """Bound the life of this process.

    It is killed ``limit_s`` seconds after the first SIGTERM, or ``grace_s`` seconds after the end
    of one of the processes ``masters``. Returns a descriptor from which ``b"T"`` is read for
    SIGTERM and ``b"P"`` for the end of a master, each at most once. SIGTERM must be blocked in all
    threads. ValueError: a number that no process can have, or no length of time. OSError: the
    kernel refused.
    """

def set_process_name(name: str) -> None:
    """Set the name of the calling thread, of at most 15 bytes.

    The name of the main thread is that of the process in ``ps``.
    """

def set_time_slice(microseconds: int) -> None:
    """Ask the kernel for a time slice of this length for the calling thread and its later children.

    A thread that asks for less than others runs sooner when woken (Linux 6.12; before that nothing
    changes). OSError: the kernel refused.
    """
