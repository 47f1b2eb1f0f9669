"""The end of an admitted request, as the rest of the path needs it: its headers, and the wait for
its row.
"""

import asyncio
from typing import TYPE_CHECKING

from nemorouter.gateway.headers import ietf_headers
from nemorouter.gateway.wire import HeaderList

if TYPE_CHECKING:
    from nemorouter._core import Call

_RECORD_S = 30.0
_LOOK_S = 0.001


async def recorded(call: "Call") -> None:
    """Wait until the row of an ended call is on disk. TimeoutError: it is not, and the answer must
    not say that all is well.
    """
    async with asyncio.timeout(_RECORD_S):
        while not call.gate.recorded(call.ticket):
            await asyncio.sleep(_LOOK_S)


def answer_headers(call: "Call", own: HeaderList, *, ietf: bool) -> HeaderList:
    """The rate limits as they are now, the answer's own headers, and ours; the cost once the call
    has ended.
    """
    headers = call.headers(own)
    if ietf:
        headers += ietf_headers(headers)
    return headers
