"""The pages of the records: their filters, as people mean them."""

from datetime import UTC, datetime, timedelta

import pytest

from nemorouter.services.scopes import keys
from nemorouter.services.transaction.context import Context
from tests.unit.control.conftest import Person, Plane


async def test_until_names_the_last_day(context: Context, plane: Plane, ada: Person) -> None:
    before = datetime.now(UTC).date()
    await keys.create(context, ada.actor, keys.NewKey(name="today's"))
    today = datetime.now(UTC).date()
    found = await plane("GET", f"{ada.org}/audit?since={before}&until={today}", ada)
    assert found.status == 200
    assert "today&#39;s" in found.text
    earlier = await plane("GET", f"{ada.org}/audit?until={before - timedelta(days=1)}", ada)
    assert "today&#39;s" not in earlier.text


@pytest.mark.parametrize("day", ["2026-02-30", "9999-12-31", "yesterday"])
@pytest.mark.parametrize("page", ["audit", "logs"])
async def test_a_day_that_is_none_is_told_beside_its_field(
    plane: Plane, ada: Person, page: str, day: str
) -> None:
    answer = await plane("GET", f"{ada.org}/{page}?until={day}", ada)
    assert answer.status == (200 if day == "9999-12-31" else 400)
    assert ('id="f-until-error"' in answer.text) == (answer.status == 400)
