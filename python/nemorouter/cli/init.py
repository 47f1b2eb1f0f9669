"""``nemorouter init``."""

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from nemorouter.cli.output import note, print_json
from nemorouter.cli.run import DEFAULTS, Common
from nemorouter.errors import RefusedError

if TYPE_CHECKING:
    from nemorouter.services.operations.bootstrap import FirstRun

_SHORTEST: Final = 8
_LONGEST: Final = 1024


def init(
    *,
    org: str,
    email: str,
    password_stdin: Annotated[bool, Parameter(negative="")] = False,
    common: Common = DEFAULTS,
) -> None:
    """Set up the store: org, owner, peppers, prices. Prints a management key, this once.

    Parameters
    ----------
    org
        Name of the org.
    email
        E-mail address of its owner.
    password_stdin
        Read the owner's password from standard input.
    """
    settings = common.settings()
    password = _password() if password_stdin else None

    async def work() -> "FirstRun":
        from nemorouter.services.access.password import hash_password
        from nemorouter.services.operations import bootstrap
        from nemorouter.services.transaction.context import Context

        password_hash = None if password is None else await hash_password(password)
        context = await Context.open(settings, create=True)
        try:
            return await bootstrap.init(context, org=org, email=email, password_hash=password_hash)
        finally:
            await context.close()

    first = asyncio.run(work())
    if common.json:
        print_json(
            {
                "org_id": first.org_id,
                "team_id": first.team_id,
                "user_id": first.user_id,
                "management_key": first.management_key,
            }
        )
        return
    note(f"{org} is set up in {settings.data_dir}. The management key is shown once; keep it safe:")
    print(first.management_key)


def _password() -> str:
    password = sys.stdin.readline(_LONGEST + 2).rstrip("\r\n")
    if not _SHORTEST <= len(password) <= _LONGEST:
        raise RefusedError(
            f"The password must have {_SHORTEST} to {_LONGEST} characters.", field="password"
        )
    return password
