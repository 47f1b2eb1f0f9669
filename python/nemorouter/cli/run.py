"""Run one command: parse the line, open the store, turn each expected failure into an exit code."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

from cyclopts import App, CycloptsError, Parameter

from nemorouter.cli.commands import COMMANDS
from nemorouter.errors import NemoError, system_reason

if TYPE_CHECKING:
    from nemorouter.roles import Actor
    from nemorouter.services.transaction.context import Context
    from nemorouter.settings import Settings

OK: Final = 0
FAILED: Final = 1
BAD_USAGE: Final = 2
_INTERRUPTED: Final = 130

T = TypeVar("T")


class UsageError(NemoError):
    """The line as a whole makes no sense, though each option does."""


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Options that most commands take."""

    data_dir: Path | None = None
    """Where the data lies (default: ./nemo-data)."""

    config: Path | None = None
    """The configuration file (default: ./nemorouter.toml, if it is there)."""

    json: Annotated[bool, Parameter(negative="")] = False
    """Answer as JSON on stdout."""

    def settings(self, **overrides: object) -> "Settings":
        """Load the settings under these options."""
        from nemorouter.settings import Settings

        return Settings.load(self.config, data_dir=self.data_dir, **overrides)


DEFAULTS: Final = Common()


def run(arguments: list[str]) -> int:
    """Run the command and answer its exit code."""
    app = App(
        name="nemorouter",
        version=_version,
        help_format="plaintext",
        help_formatter="plain",
        result_action="return_value",
        default_parameter=Parameter(validator=_said),
    )
    for name, (path, about) in COMMANDS.items():
        app.command(path, name=name, help=about)
    try:
        code = app(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        return fail(str(error), BAD_USAGE)
    except UsageError as error:
        return fail(str(error), BAD_USAGE)
    except NemoError as error:
        return fail(str(error))
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        return fail(system_reason(error))
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code if isinstance(code, int) else OK


def _said(_: type, value: object) -> None:
    """Refuse an option or argument without text, also one of a group of options.

    An unset shell variable would else lift what it was to restrict. ValueError: nothing is said.
    """
    options = vars(value) if is_dataclass(value) else {"": value}
    for name, text in options.items():
        if isinstance(text, str) and not text.strip(" \t\r\n,"):
            named = f"--{name.replace('_', '-')} is" if name else "It is"
            raise ValueError(
                f"{named} empty. Leave it out, or name what lifts it: "
                "all, none, unlimited or never."
            )


def fail(reason: str, code: int = FAILED) -> int:
    """One line on stderr."""
    from nemorouter.cli.output import inert

    print(f"nemorouter: {inert(' '.join(reason.split()))}", file=sys.stderr)
    return code


def with_store(common: Common, action: "Callable[[Context, Actor], Awaitable[T]]") -> T:
    """Run ``action`` on the store of ``common``, as the person at this machine."""

    async def work() -> T:
        from nemorouter.datadir.secrets import stay_out_of_core_dumps
        from nemorouter.services.operations.bootstrap import local_actor
        from nemorouter.services.transaction.context import Context

        stay_out_of_core_dumps()
        context = await Context.open(common.settings())
        try:
            return await action(context, await local_actor(context))
        finally:
            await context.close()

    return asyncio.run(work())


def group(name: str) -> App:
    """Make an app of commands under ``name``."""
    return App(name=name, help=COMMANDS[name][1])


def _version() -> str:
    try:
        return version("nemorouter")
    except PackageNotFoundError:
        return "unknown"
