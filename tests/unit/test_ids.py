"""Ids: order, the text and its single spelling."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemorouter import ids


def test_ids_rise_strictly_in_one_process_whatever_the_threads() -> None:
    lots: list[list[int]] = [[] for _ in range(4)]

    def draw(lot: list[int]) -> None:
        lot.extend(ids.new_id() for _ in range(5_000))

    threads = [threading.Thread(target=draw, args=(lot,)) for lot in lots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(lot == sorted(lot) for lot in lots)
    drawn = [id for lot in lots for id in lot]
    assert len(set(drawn)) == len(drawn)
    assert all(0 < id < 1 << 63 for id in drawn)


def test_an_id_carries_its_time() -> None:
    ms = (ids.new_id() >> 21) + ids.EPOCH_MS
    assert 1_764_000_000_000 < ms < 4_102_444_800_000  # between 2025 and 2100


@given(st.integers(0, (1 << 63) - 1))
def test_the_text_is_a_bijection_and_keeps_the_order(id: int) -> None:
    text = ids.to_text("key", id)
    assert len(text) == len("key_") + 13
    assert ids.from_text("key", text) == id
    if id:
        assert ids.to_text("key", id - 1) < text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "key_",
        "key_0000000000000x",
        "team_0000000000000",
        "key_000000000000O",
        "key_00000000000l0",
        "KEY_0000000000000",
        "key_A000000000000",
        "key_zzzzzzzzzzzzz",  # more than 63 bits
        "key_0000000000000\n",
        "0000000000000",
    ],
)
def test_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="id"):
        ids.from_text("key", text)


def test_no_text_for_a_number_out_of_range() -> None:
    for number in (-1, 1 << 63):
        with pytest.raises(ValueError, match="63 bits"):
            ids.to_text("key", number)


def test_request_ids() -> None:
    text = ids.request_text(0x0123456789ABCDEF, 7)
    assert text == "req_0123456789abcdef0000000000000007"
    assert ids.request_from_text(text) == (0x0123456789ABCDEF, 7)
    for bad in ("req_", "req_" + "0" * 31, "req_" + "G" * 32, "0" * 36, "req_" + "A" * 32):
        with pytest.raises(ValueError, match="request id"):
            ids.request_from_text(bad)
