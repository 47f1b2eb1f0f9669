"""Prices: exact, all or none, and told to the arena."""

import pytest

from nemorouter.errors import RefusedError
from nemorouter.roles import Actor
from nemorouter.services.budgets import prices
from nemorouter.services.budgets.prices import Price
from nemorouter.services.transaction.context import Context
from nemorouter.store import policies
from tests.support.installation import scalar
from tests.support.sql import a_price


async def test_a_price_reaches_the_arena_exactly(context: Context, owner: Actor) -> None:
    await prices.set_price(
        context, owner, Price(model="m", input="0.000000001", output="12.5", max_output=9)
    )
    async with context.store.read() as connection:
        seq = await policies.change_seq(connection)
        assert await policies.changes_since(connection, seq - 1) == [(seq, 0, 0, "m")]
        price = await a_price(connection, "m")
    assert price is not None
    assert (price.input, price.cached, price.output, price.request, price.max_output) == (
        1,
        None,
        12_500_000_000,
        0,
        9,
    )
    assert price.version == seq


async def test_a_price_may_be_made_unknown(context: Context, owner: Actor) -> None:
    await prices.set_price(context, owner, Price(model="echo"))
    async with context.store.read() as connection:
        price = await a_price(connection, "echo")
    assert price is not None
    assert price.input is None


async def test_the_builtin_list_is_there_from_the_start(context: Context, owner: Actor) -> None:
    listed = {price.model for price in await prices.list_prices(context, owner)}
    assert listed == {price.model for price in prices.builtin_prices()}
    assert {"echo", "gpt-4o-mini"} <= listed
    assert len(listed) >= 13


async def test_import_changes_only_what_differs(context: Context, owner: Actor) -> None:
    before = await scalar(context, "SELECT value FROM meta WHERE key = 'change_seq'")
    assert await prices.import_prices(context, owner, prices.builtin_prices()) == 0
    assert await scalar(context, "SELECT value FROM meta WHERE key = 'change_seq'") == before
    await prices.set_price(context, owner, Price(model="echo", input="9"))
    assert await prices.import_prices(context, owner, prices.builtin_prices(), replace=False) == 0
    assert await prices.import_prices(context, owner, prices.builtin_prices()) == 1


async def test_an_import_is_all_or_none(context: Context, owner: Actor) -> None:
    with pytest.raises(RefusedError, match="output"):
        await prices.import_prices(
            context, owner, [Price(model="good", input="1"), Price(model="bad", output="-1")]
        )
    assert await scalar(context, "SELECT count(*) FROM prices WHERE model = 'good'") == 0


@pytest.mark.parametrize(
    ("price", "message"),
    [
        (Price(model=""), "model must be a name"),
        (Price(model="gpt-*"), "model must be a name"),
        (Price(model="a\nb"), "control characters"),
        (Price(model="m", input="1000001"), "at most 1,000,000 USD"),
        (Price(model="m", cached="x"), "cached must be an amount"),
        (Price(model="m", max_output=0), "max_output must be between"),
    ],
    ids=str,
)
async def test_a_bad_price_is_refused(
    price: Price, message: str, context: Context, owner: Actor
) -> None:
    with pytest.raises(RefusedError, match=message):
        await prices.set_price(context, owner, price)


@pytest.mark.parametrize(
    "text", ["x =", "[[price]]\nmodel = 'x'", "[[prices]]\ninput = '1'", "[[prices]]\nmodel = 1"]
)
def test_a_bad_file_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="The prices are not"):
        prices.parse_prices(text)
