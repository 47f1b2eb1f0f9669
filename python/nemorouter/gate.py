"""The decision alone, for programs that bring their own server: identify, admit, settle.

Build an ``Arena`` and a ``Journal``, put policies and prices into the arena, and ask a ``Gate``.
``nemorouter.reference`` has the same interface in pure Python.
"""

from nemorouter._core import Arena, Gate, Journal, Refusal
from nemorouter.errors import Code
from nemorouter.types import ModelPrice, Policy

__all__ = ["Arena", "Code", "Gate", "Journal", "ModelPrice", "Policy", "Refusal"]
