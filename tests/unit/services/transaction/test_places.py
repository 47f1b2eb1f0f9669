"""A scope takes as many places as its block takes words in the native heap, by eights."""

import pytest

from nemorouter._core import Arena
from nemorouter.services.transaction.places import places_of
from nemorouter.types import Kind, Policy

PLACES = 64
LONGEST = 1 + 125 + 1_000 * 16 + 1_000 * 3
"""Words of the longest block: name, models, addresses."""
WORDS = 16 * PLACES + 2 * LONGEST
"""Words of the heap."""


def put(arena: Arena, id: int, name: str, models: tuple[str, ...], ips: tuple[str, ...]) -> None:
    arena.put(Policy(kind=Kind.ORG, id=id, version=1, name=name, models=models, ips=ips))


def fill(arena: Arena, words: int) -> None:
    """Take so many words, by blocks of models of 16 words each and a name that makes it even."""
    for id in range(10, 60):
        models, rest = divmod(min(words, 14_401) - 1, 16)
        if words:
            put(arena, id, "n" * 8 * rest, ("x" * 120,) * models, ())
            words -= 1 + 16 * models + rest


@pytest.mark.parametrize(
    ("name", "models", "ips"),
    [
        pytest.param("n" * 200, (), (), id="name"),
        pytest.param("é" * 100, ("gpt-*", "m" * 120), (), id="models"),
        pytest.param("", ("a" * 8, "b" * 9 + "*", "*"), ("10.0.0.0/8", "::1"), id="all"),
    ],
)
def test_places_are_the_words_of_the_native_block(
    name: str, models: tuple[str, ...], ips: tuple[str, ...]
) -> None:
    """Leave room for the places of a scope: it fits there, and not with eight words less."""
    places = places_of(name, list(models), list(ips))
    arena = Arena.private(PLACES)
    fill(arena, WORDS - 8 * places)
    put(arena, 1, name, models, ips)
    arena = Arena.private(PLACES)
    fill(arena, WORDS - 8 * (places - 1))
    with pytest.raises(MemoryError, match="room for names and allow-lists is full"):
        put(arena, 1, name, models, ips)
