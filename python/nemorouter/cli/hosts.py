"""``nemorouter hosts``."""

from cyclopts import App

from nemorouter.cli.output import note, print_json, print_line, print_table
from nemorouter.cli.run import DEFAULTS, Common, group, with_store

app: App = group("hosts")


@app.command(name="list")
def list_hosts(*, common: Common = DEFAULTS) -> None:
    """List the hosts of this installation: whether each lives, and how far it applies."""
    from nemorouter.services.operations import hosts

    fleet = with_store(common, hosts.list_hosts)
    if common.json:
        print_json(fleet)
        return
    print_table(
        ("id", "name", "status", "silent", "behind", "workers", "scopes", "version"),
        [
            (
                host.id,
                host.name,
                host.status,
                None if host.seconds_silent is None else f"{host.seconds_silent:.1f} s",
                host.changes_behind,
                host.workers,
                host.scopes,
                host.version,
            )
            for host in fleet.hosts
        ],
    )
    if not fleet.settled:
        note("The registry is new, or was lost: hosts may be missing from it for some seconds.")


@app.command
def forget(host: str, /, *, common: Common = DEFAULTS) -> None:
    """Evict HOST (id or name), which will not come back, and free the budget money that it holds.

    It takes some seconds, since it makes sure that the host admits nothing any more. A host that
    lives is refused.
    """
    from nemorouter.services.operations import hosts

    name = with_store(common, lambda context, actor: hosts.forget(context, actor, host))
    if common.json:
        print_json({"forgotten": name})
    else:
        print_line(f"{name} is forgotten.")


@app.command
def reset(*, common: Common = DEFAULTS) -> None:
    """Begin the registry anew, after the store was restored and all servers were stopped.

    Keys that were revoked since the backup are active again: look at them before the servers start.
    """
    from nemorouter.services.operations import hosts

    with_store(common, hosts.reset)
    if common.json:
        print_json({"reset": True})
    else:
        print_line("The registry begins anew.")
