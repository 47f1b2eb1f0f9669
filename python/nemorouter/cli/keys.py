"""``nemorouter keys``."""

from typing import TYPE_CHECKING, Any

from cyclopts import App

from nemorouter.cli.options import (
    NO_KEY_LIMITS,
    NO_LIMITS,
    RATE_HEADS,
    KeyLimits,
    Limits,
    rate_cells,
)
from nemorouter.cli.output import note, print_fields, print_json, print_table
from nemorouter.cli.run import DEFAULTS, Common, group, with_store

if TYPE_CHECKING:
    from nemorouter.services.scopes.keys import IssuedKey

app: App = group("keys")


@app.command
def create(
    *,
    name: str,
    team: str | None = None,
    user: str | None = None,
    limits: Limits = NO_LIMITS,
    key_limits: KeyLimits = NO_KEY_LIMITS,
    common: Common = DEFAULTS,
) -> None:
    """Create a key and print it, this once. It works at once.

    Parameters
    ----------
    name
        What the key is for.
    team
        Id or name of its team (default: the team Default).
    user
        E-mail or id of the person whose key it is.
    """
    from nemorouter.services.scopes import keys

    new = keys.NewKey(name=name, team=team, user=user, **limits.fields(), **key_limits.fields())
    _reveal(with_store(common, lambda context, actor: keys.create(context, actor, new)), common)


@app.command
def duplicate(key: str, /, *, name: str | None = None, common: Common = DEFAULTS) -> None:
    """Create a key with the policy of KEY (id or name), to roll out before KEY is revoked.

    Parameters
    ----------
    name
        Name of the new key.
    """
    from nemorouter.services.scopes import keys

    _reveal(
        with_store(common, lambda context, actor: keys.duplicate(context, actor, key, name)), common
    )


@app.command(name="list")
def list_keys(
    *,
    team: str | None = None,
    status: str | None = None,
    q: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
    common: Common = DEFAULTS,
) -> None:
    """List keys, newest first, with what they spent and when they were last used.

    Parameters
    ----------
    team
        Only keys of this team.
    status
        Only active, disabled or revoked keys.
    q
        Only keys whose name holds this, or that end in these four characters.
    limit
        At most so many, up to 1000.
    cursor
        Where the page before ended.
    """
    from nemorouter.services.scopes import keys

    page = with_store(
        common,
        lambda context, actor: keys.list_keys(
            context, actor, team=team, status=status, q=q, limit=limit, cursor=cursor
        ),
    )
    if common.json:
        print_json(page)
        return
    print_table(
        ("ID", "NAME", "ALIAS", "STATUS", *RATE_HEADS, "BUDGET", "SPEND", "LAST USED"),
        (
            (
                key.id,
                key.name,
                key.alias,
                key.status,
                *rate_cells(key),
                f"{key.budget.max_spend} {key.budget.duration}" if key.budget else None,
                key.spend,
                key.last_used_at,
            )
            for key in page.data
        ),
    )
    if page.next_cursor:
        note(f"More: --cursor {page.next_cursor}")


@app.command
def show(key: str, /, *, common: Common = DEFAULTS) -> None:
    """Show all of KEY (id or name) but its secret."""
    from nemorouter.services.scopes import keys

    _show(with_store(common, lambda context, actor: keys.show(context, actor, key)), common)


@app.command
def update(
    key: str,
    /,
    *,
    name: str | None = None,
    status: str | None = None,
    limits: Limits = NO_LIMITS,
    key_limits: KeyLimits = NO_KEY_LIMITS,
    common: Common = DEFAULTS,
) -> None:
    """Change KEY (id or name); applied at the next request.

    Parameters
    ----------
    name
        A new name.
    status
        active or disabled.
    """
    from nemorouter.services.scopes import keys

    given: dict[str, Any] = {"name": name, "status": status}
    given = {field: value for field, value in given.items() if value is not None}
    patch = keys.KeyPatch(**given, **limits.fields(), **key_limits.fields())
    _show(with_store(common, lambda context, actor: keys.patch(context, actor, key, patch)), common)


@app.command
def revoke(key: str, /, *, common: Common = DEFAULTS) -> None:
    """End KEY (id or name) for ever.

    When this returns, no request that starts later is admitted.
    """
    from nemorouter.services.scopes import keys

    _show(with_store(common, lambda context, actor: keys.revoke(context, actor, key)), common)


@app.command(name="rotate-pepper")
def rotate_pepper(*, retire: bool = False, common: Common = DEFAULTS) -> None:
    """Hash new keys under a fresh pepper; old keys stay valid.

    Servers use the fresh pepper once they are restarted.

    Parameters
    ----------
    retire
        Instead: drop the old pepper. Keys made under it stop working.
    """
    from nemorouter.services.operations import peppers

    ids = with_store(common, peppers.retire if retire else peppers.rotate)
    if common.json:
        print_json({"peppers": ids})
    else:
        note(f"Valid peppers now: {', '.join(map(str, ids))}. Restart the servers.")


def _reveal(created: "IssuedKey", common: Common) -> None:
    """Print a created key; no other place prints a whole key."""
    import msgspec

    if common.json:
        print_json({"key": created.key, **msgspec.to_builtins(created.view)})
        return
    note(f"{created.view.id} {created.view.name}. The key is shown once; keep it safe:")
    print(created.key)


def _show(view: Any, common: Common) -> None:  # noqa: ANN401 - any view
    if common.json:
        print_json(view)
    else:
        print_fields(view)
