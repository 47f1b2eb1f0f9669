"""Prices: exact, all or none, and told to the arena."""

import pytest

from nemorouter.errors import ConflictError, NotFoundError, RefusedError
from nemorouter.roles import Actor
from nemorouter.services.budgets import prices
from nemorouter.services.budgets.prices import Price
from nemorouter.services.reports import audit
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


async def test_a_deleted_price_is_gone_and_told(context: Context, owner: Actor) -> None:
    """Row P1 of the attacks: no command deleted a price."""
    await prices.delete_price(context, owner, "echo")
    async with context.store.read() as connection:
        seq = await policies.change_seq(connection)
        assert await policies.changes_since(connection, seq - 1) == [(seq, 0, 0, "echo")]
        assert await a_price(connection, "echo") is None
    (event, *_) = (await audit.list_audit(context, owner)).data
    assert (event.action, event.resource, event.after) == ("price.deleted", "echo", None)
    assert event.before is not None
    with pytest.raises(NotFoundError):
        await prices.delete_price(context, owner, "echo")


async def test_a_price_too_many_is_refused_before_it_is_written(
    context: Context, owner: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row P1 of the attacks: a price that fits no arena must not get into the store."""
    there = len(await prices.list_prices(context, owner))
    monkeypatch.setattr(prices, "MAX_PRICES", there + 1)
    await prices.set_price(context, owner, Price(model="last", input="1"))
    seq = await scalar(context, "SELECT value FROM meta WHERE key = 'change_seq'")
    with pytest.raises(ConflictError, match="which is the most"):
        await prices.set_price(context, owner, Price(model="one more", input="1"))
    with pytest.raises(ConflictError, match="which is the most"):
        await prices.import_prices(context, owner, [Price(model="one more", input="1")])
    await prices.set_price(context, owner, Price(model="last", input="2"))
    await prices.delete_price(context, owner, "last")
    await prices.set_price(context, owner, Price(model="one more", input="1"))
    assert await scalar(context, "SELECT value FROM meta WHERE key = 'change_seq'") == str(
        int(str(seq)) + 3
    )
