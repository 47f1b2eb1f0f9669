"""``nemorouter doctor``."""

from nemorouter.cli.output import print_json, print_line
from nemorouter.cli.run import DEFAULTS, FAILED, OK, Common


def doctor(*, host: str | None = None, port: int | None = None, common: Common = DEFAULTS) -> int:
    """Look at the whole set-up, and say what is wrong and how to mend it. Changes nothing.

    Parameters
    ----------
    host
        Address that the server is to listen on.
    port
        Port that the server is to listen on.
    """
    from nemorouter.services.operations.doctor import examine

    checks = examine(common.settings(host=host, port=port))
    sound = all(check.state != "fail" for check in checks)
    if common.json:
        print_json({"sound": sound, "checks": checks})
        return OK if sound else FAILED
    width = max(len(check.name) for check in checks)
    for check in checks:
        print_line(f"{check.state:<4}  {check.name:<{width}}  {check.finding}")
        if check.mend:
            print_line(f"{'':<{width + 6}}  {check.mend}")
    return OK if sound else FAILED
