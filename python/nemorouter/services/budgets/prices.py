"""Prices of models, in USD a million tokens; one table for the whole installation."""

import tomllib
from collections.abc import Sequence
from functools import partial
from importlib import resources
from typing import Any

import msgspec
from sqlalchemy import Row, delete, func, insert, select, update

from nemorouter.errors import ConflictError, NotFoundError, RefusedError
from nemorouter.roles import Actor, require
from nemorouter.services.fields import values
from nemorouter.services.fields.page import Page, checked, every, page
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.unit import UnitOfWork, change
from nemorouter.store.schema import INSTALLATION, prices
from nemorouter.types import MAX_MODEL_BYTES, MAX_PRICES, NANO

_HIGHEST = 1_000_000 * NANO  # of a price: keeps every product of tokens and price within range
_MOST_OUTPUT = 100_000_000


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model's price: USD as decimal strings, for a million input, cached and output tokens.

    ``request`` is for a request or image. No ``input``: unknown. ``max_output``: output tokens that
    are reserved when the client states no maximum.
    """

    model: str
    input: str | None = None
    cached: str | None = None
    output: str = "0"
    request: str = "0"
    max_output: int = 4096


async def page_prices(
    context: Context, actor: Actor, *, limit: int = 100, cursor: str | None = None
) -> Page[Price]:
    """Prices by model; the cursor is the last model of the page before."""
    require(actor, "price.read")
    query = select(prices).order_by(prices.c.model).limit(checked(limit) + 1)
    if cursor is not None:
        query = query.where(prices.c.model > cursor)
    async with context.store.read() as connection:
        rows, after = page(list((await connection.execute(query)).all()), limit)
    return Page(data=[_view(row) for row in rows], next_cursor=after.model if after else None)


async def list_prices(context: Context, actor: Actor) -> list[Price]:
    """All prices, by model."""
    return await every(partial(page_prices, context, actor))


async def show_price(context: Context, actor: Actor, model: str) -> Price:
    """Answer the price of one model. NotFoundError: there is none."""
    require(actor, "price.read")
    async with context.store.read() as connection:
        row = (await connection.execute(select(prices).where(prices.c.model == model))).first()
    if row is None:
        raise NotFoundError(f"There is no price of {model!r}.", field="model")
    return _view(row)


async def set_price(context: Context, actor: Actor, new: Price) -> Price:
    """Set the price of a model; it holds for requests admitted from now on."""
    async with change(context, actor, "price.set") as unit:
        before = (
            await unit.connection.execute(select(prices).where(prices.c.model == new.model))
        ).first()
        await _write(unit, new)
        old = _view(before) if before else None
        await unit.record("price.set", new.model, old, new, org=INSTALLATION)
    return new


async def delete_price(context: Context, actor: Actor, model: str) -> None:
    """Delete the price of a model; from now on none is known. NotFoundError: there is none."""
    async with change(context, actor, "price.delete") as unit:
        mine = prices.c.model == model
        before = (await unit.connection.execute(select(prices).where(mine))).first()
        if before is None:
            raise NotFoundError(f"There is no price of {model!r}.", field="model")
        await unit.connection.execute(delete(prices).where(mine))
        await unit.bump_price_version(model)
        await unit.record("price.deleted", model, _view(before), org=INSTALLATION)


async def import_prices(
    context: Context, actor: Actor, new: Sequence[Price], *, replace: bool = True
) -> int:
    """Set many prices at once, all or none; return how many.

    Without ``replace``, models that have a price keep it.
    """
    async with change(context, actor, "price.set") as unit:
        return await write_prices(unit, new, replace=replace)


async def write_prices(unit: UnitOfWork, new: Sequence[Price], *, replace: bool) -> int:
    """Set many prices within an open transaction."""
    there = {row.model: _view(row) for row in await unit.connection.execute(select(prices))}
    todo = [price for price in new if replace or price.model not in there]
    todo = [
        price
        for price in todo
        if price.model not in there or _row(price) != _row(there[price.model])
    ]
    for price in todo:
        await _write(unit, price)
    if todo:
        models = {"models": [price.model for price in todo]}
        await unit.record("prices.imported", "prices", None, models, org=INSTALLATION)
    return len(todo)


def builtin_prices() -> list[Price]:
    """Return the list that comes with the package: ``echo`` models and well-known public prices."""
    return parse_prices((resources.files("nemorouter.store") / "prices.toml").read_text("utf-8"))


def parse_prices(text: str) -> list[Price]:
    """Prices of a TOML text: one ``[[prices]]`` table a model, the fields of ``Price``."""
    try:
        tables: Any = tomllib.loads(text)
        return msgspec.convert(tables, dict[str, list[Price]])["prices"]
    except tomllib.TOMLDecodeError as error:
        raise RefusedError(f"The prices are not valid TOML: {error}.") from None
    except (msgspec.ValidationError, KeyError) as error:
        raise RefusedError(f"The prices are not usable: {str(error).replace('`', '')}.") from None


async def _write(unit: UnitOfWork, new: Price) -> None:
    row = _row(new)
    done = await unit.connection.execute(
        update(prices).where(prices.c.model == new.model).values(**row)
    )
    if not done.rowcount:
        await _require_room(unit)
        await unit.connection.execute(insert(prices).values(model=new.model, **row))
    await unit.bump_price_version(new.model)


async def _require_room(unit: UnitOfWork) -> None:
    """Raise a ConflictError if the arenas of the hosts can hold no other price."""
    count = select(func.count()).select_from(prices)
    if (await unit.connection.execute(count)).scalar_one() >= MAX_PRICES:
        raise ConflictError(
            f"There are {MAX_PRICES:,} prices, which is the most. "
            "Delete those that nobody needs first.",
            field="model",
        )


def _row(new: Price) -> dict[str, int | None]:
    """Check a price; return its columns."""
    if not new.model or len(new.model.encode()) > MAX_MODEL_BYTES or "*" in new.model:
        raise RefusedError(
            f"model must be a name of 1 to {MAX_MODEL_BYTES} bytes, without *.", field="model"
        )
    values.name(new.model, "model")
    if not 1 <= new.max_output <= _MOST_OUTPUT:
        raise RefusedError(f"max_output must be between 1 and {_MOST_OUTPUT}.", field="max_output")
    return {
        "input": None if new.input is None else _nano(new.input, "input"),
        "cached": None if new.cached is None else _nano(new.cached, "cached"),
        "output": _nano(new.output, "output"),
        "request": _nano(new.request, "request"),
        "max_output": new.max_output,
    }


def _nano(text: str, field: str) -> int:
    nano = values.usd(text, field)
    if nano > _HIGHEST:
        raise RefusedError(f"{field} must be at most {_HIGHEST // NANO:,} USD.", field=field)
    return nano


def _view(row: Row[Any]) -> Price:
    return Price(
        model=row.model,
        input=None if row.input is None else values.usd_text(row.input),
        cached=None if row.cached is None else values.usd_text(row.cached),
        output=values.usd_text(row.output),
        request=values.usd_text(row.request),
        max_output=row.max_output,
    )
