"""``nemorouter db``."""

import asyncio

from cyclopts import App

from nemorouter.cli.output import print_json, print_line
from nemorouter.cli.run import DEFAULTS, FAILED, OK, Common, group
from nemorouter.errors import ConfigurationError

app: App = group("db")


@app.command
def upgrade(*, common: Common = DEFAULTS) -> None:
    """Bring the store to the layout of this version. Stop the servers and make a backup first."""
    from nemorouter.store.engine import Store, backend_of

    settings = common.settings()
    backend = backend_of(settings)
    place = backend.place

    async def work() -> tuple[int, int]:
        before = await backend.version()
        if not before:
            raise ConfigurationError(
                f"There is no store at {place}; run `nemorouter init` or `nemorouter serve` first."
            )
        await (await Store.open(settings, migrate=True)).close()
        return before, await backend.version()

    before, after = asyncio.run(work())
    if common.json:
        print_json({"path": place, "before": before, "after": after})
    else:
        print_line(
            f"{place}: layout {after}" + (" already." if after == before else f", was {before}.")
        )


@app.command
def status(*, common: Common = DEFAULTS) -> int:
    """Say which layout the store has, and which one this version wants."""
    from nemorouter.store.engine import backend_of
    from nemorouter.store.schema import SCHEMA_VERSION

    backend = backend_of(common.settings())
    path = backend.place
    found = asyncio.run(backend.version())
    if common.json:
        print_json(
            {
                "path": path,
                "layout": found,
                "wanted": SCHEMA_VERSION,
                "current": found == SCHEMA_VERSION,
            }
        )
    elif found == 0:
        print_line(f"There is no store at {path}.")
    else:
        print_line(f"{path}: layout {found}, this version wants {SCHEMA_VERSION}.")
    return OK if found == SCHEMA_VERSION else FAILED
