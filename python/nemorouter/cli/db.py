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
    from nemorouter.store.engine import Store, database_path, store_version

    settings = common.settings()
    path = database_path(settings)
    before = store_version(path)
    if not path.exists():
        raise ConfigurationError(f"There is no store at {path}; run `nemorouter init` or `nemorouter serve` first.")

    async def work() -> None:
        await (await Store.open(settings, migrate=True)).close()

    asyncio.run(work())
    after = store_version(path)
    if common.json:
        print_json({"path": str(path), "before": before, "after": after})
    else:
        print_line(f"{path}: layout {after}" + (" already." if after == before else f", was {before}."))


@app.command
def status(*, common: Common = DEFAULTS) -> int:
    """Say which layout the store has, and which one this version wants."""
    from nemorouter.store.engine import database_path, store_version
    from nemorouter.store.schema import SCHEMA_VERSION

    path = database_path(common.settings())
    found = store_version(path)
    if common.json:
        print_json({"path": str(path), "layout": found, "wanted": SCHEMA_VERSION, "current": found == SCHEMA_VERSION})
    elif found == 0:
        print_line(f"There is no store at {path}.")
    else:
        print_line(f"{path}: layout {found}, this version wants {SCHEMA_VERSION}.")
    return OK if found == SCHEMA_VERSION else FAILED
