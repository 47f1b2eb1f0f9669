"""Rows as CSV that no spreadsheet runs."""

import pytest

from nemorouter.control.api import csv_text


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", ";", "\t", "\r", "\n", "  =", " ;"])
def test_a_cell_that_a_spreadsheet_would_run_begins_with_an_apostrophe(begin: str) -> None:
    """Row P26 of the attacks: where cells are separated by semicolons, ;=1+1 begins a formula."""
    assert csv_text.cell(f"{begin}cmd") == f"'{begin}cmd"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "true"), (-5, "-5"), ("a=b", "a=b"), (["="], '["="]'), ("", "")],
)
def test_other_cells_stay_as_they_are(value: object, text: str) -> None:
    assert csv_text.cell(value) == text
