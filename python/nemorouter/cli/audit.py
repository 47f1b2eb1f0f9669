"""``nemorouter audit``."""

from cyclopts import App

from nemorouter.cli.output import print_json, print_line
from nemorouter.cli.run import DEFAULTS, FAILED, OK, Common, fail, group, with_store

app: App = group("audit")


@app.command
def verify(*, common: Common = DEFAULTS) -> int:
    """Check that nobody edited, deleted, inserted or reordered an event of the audit log."""
    from nemorouter.services.reports.audit import verify_audit

    verdict = with_store(common, verify_audit)
    if common.json:
        print_json(verdict)
    elif verdict.broken_at is None:
        print_line(f"{verdict.events} events are sound. Head: {verdict.head}")
    else:
        fail(f"The audit log is broken at event {verdict.broken_at}: {verdict.reason}.")
    return OK if verdict.broken_at is None else FAILED
