"""One finding of the doctor."""

from typing import Literal

import msgspec


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. ``mend`` says what to do, where something is."""

    name: str
    state: Literal["ok", "warn", "fail"]
    finding: str
    mend: str | None = None
