"""``nemorouter prices``."""

from pathlib import Path

from cyclopts import App

from nemorouter.cli.output import note, print_fields, print_json, print_table
from nemorouter.cli.run import DEFAULTS, Common, group, with_store
from nemorouter.errors import RefusedError

app: App = group("prices")


@app.command(name="list")
def list_prices(*, common: Common = DEFAULTS) -> None:
    """List all prices: USD a million tokens, and a request."""
    from nemorouter.services.budgets import prices

    found = with_store(common, prices.list_prices)
    if common.json:
        print_json({"data": found})
        return
    print_table(
        ("MODEL", "INPUT", "CACHED", "OUTPUT", "REQUEST", "MAX OUTPUT"),
        (
            (one.model, one.input, one.cached, one.output, one.request, one.max_output)
            for one in found
        ),
    )


@app.command(name="set")
def set_price(
    model: str,
    /,
    *,
    input: str | None = None,
    cached: str | None = None,
    output: str = "0",
    request: str = "0",
    max_output: int = 4096,
    common: Common = DEFAULTS,
) -> None:
    """Set the whole price of MODEL, in USD.

    Parameters
    ----------
    input
        A million input tokens; without it the price is unknown.
    cached
        A million cached input tokens (default: as input).
    output
        A million output tokens.
    request
        Each request, or each image of an image request.
    max_output
        Output tokens that are reserved when a client states no maximum.
    """
    from nemorouter.services.budgets import prices

    new = prices.Price(
        model=model,
        input=input,
        cached=cached,
        output=output,
        request=request,
        max_output=max_output,
    )
    found = with_store(common, lambda context, actor: prices.set_price(context, actor, new))
    if common.json:
        print_json(found)
    else:
        print_fields(found)


@app.command(name="delete")
def delete_price(model: str, /, *, common: Common = DEFAULTS) -> None:
    """Delete the price of MODEL. Where a budget applies, the model is refused from then on."""
    from nemorouter.services.budgets import prices

    with_store(common, lambda context, actor: prices.delete_price(context, actor, model))
    if common.json:
        print_json({"model": model, "deleted": True})
    else:
        note(f"The price of {model} is deleted.")


@app.command(name="import")
def import_prices(
    file: Path | None = None, /, *, keep: bool = False, common: Common = DEFAULTS
) -> None:
    """Import prices from FILE, or the list that comes with this version.

    FILE is TOML, with one [[prices]] table a model.

    Parameters
    ----------
    keep
        Leave the models alone that have a price already.
    """
    from nemorouter.services.budgets import prices

    new = prices.builtin_prices() if file is None else prices.parse_prices(_read(file))
    count = with_store(
        common, lambda context, actor: prices.import_prices(context, actor, new, replace=not keep)
    )
    if common.json:
        print_json({"changed": count})
    else:
        note(f"{count} prices changed.")


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise RefusedError(f"The file {path} cannot be read.", field="file") from None
