"""``nemorouter management-keys``."""

from cyclopts import App

from nemorouter.cli.output import note, print_fields, print_json, print_table
from nemorouter.cli.run import DEFAULTS, Common, group, with_store

app: App = group("management-keys")


@app.command
def create(*, name: str, operator: bool = True, common: Common = DEFAULTS) -> None:
    """Create a key for the management API and print it, this once.

    The key acts for the org's first owner.

    Parameters
    ----------
    name
        What the key is for.
    operator
        Whether it may also change what belongs to the whole installation, such as prices.
    """
    from nemorouter.services.access import management

    new = management.NewManagementKey(name=name, operator=operator)
    created = with_store(common, lambda context, actor: management.create(context, actor, new))
    if common.json:
        print_json({"key": created.key, "management_key": created.view})
        return
    note(f"{created.view.name} ({created.view.id}) is shown once; keep it safe:")
    print(created.key)


@app.command(name="list")
def list_keys(*, common: Common = DEFAULTS) -> None:
    """List management keys, newest first."""
    from nemorouter.services.access import management

    found = with_store(common, management.list_management_keys)
    if common.json:
        print_json({"data": found})
        return
    print_table(
        ("ID", "NAME", "ALIAS", "USER", "STATUS", "OPERATOR", "LAST USED"),
        (
            (
                key.id,
                key.name,
                key.alias,
                key.user_id,
                key.status,
                "yes" if key.operator else "",
                key.last_used_at,
            )
            for key in found
        ),
    )


@app.command
def revoke(key: str, /, *, common: Common = DEFAULTS) -> None:
    """Revoke the management key KEY (its id) for ever.

    Parameters
    ----------
    key
        The id, as list shows it.
    """
    from nemorouter.services.access import management

    found = with_store(common, lambda context, actor: management.revoke(context, actor, key))
    if common.json:
        print_json(found)
    else:
        print_fields(found)
