"""``nemorouter budgets``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Parameter

from nemorouter.cli.options import parse_budget
from nemorouter.cli.output import note, print_json, print_table
from nemorouter.cli.run import DEFAULTS, Common, UsageError, group, with_store
from nemorouter.types import Kind

if TYPE_CHECKING:
    from nemorouter.services.budgets.budgets import ScopeBudget

app: App = group("budgets")


@Parameter(name="*")
@dataclass(frozen=True)
class Whose:
    """Exactly one scope."""

    key: str | None = None
    """Id or name of a key."""

    team: str | None = None
    """Id or name of a team."""

    user: str | None = None
    """E-mail or id of a person."""

    org: Annotated[bool, Parameter(negative="")] = False
    """The whole org."""

    def scope(self) -> tuple[Kind, str]:
        """Kind and reference; an empty one for the org of this machine."""
        named = (
            (Kind.KEY, self.key),
            (Kind.TEAM, self.team),
            (Kind.USER, self.user),
            (Kind.ORG, "" if self.org else None),
        )
        given = [(kind, reference) for kind, reference in named if reference is not None]
        if len(given) != 1:
            raise UsageError("Name exactly one of --key, --team, --user and --org.")
        return given[0]


NOBODY: Final = Whose()


@app.command(name="set")
def set_budget(
    max_spend: str,
    /,
    *,
    duration: str = "monthly",
    whose: Whose = NOBODY,
    common: Common = DEFAULTS,
) -> None:
    """Let a key, team, person or the org spend at most MAX_SPEND in each window.

    MAX_SPEND is in USD, such as 50 or 0.25.

    Parameters
    ----------
    duration
        daily (00:00 UTC), weekly (Monday), monthly (the 1st) or total.
    """
    from nemorouter.services.budgets import budgets
    from nemorouter.services.transaction.lookup import text_id

    kind, reference = whose.scope()
    new = parse_budget(max_spend, duration)
    found = with_store(
        common,
        lambda context, actor: budgets.set_budget(
            context, actor, kind, reference or text_id(Kind.ORG, actor.org), new
        ),
    )
    if common.json:
        print_json(found)
    else:
        _table([found])


@app.command
def clear(*, whose: Whose = NOBODY, common: Common = DEFAULTS) -> None:
    """Take a budget away."""
    from nemorouter.services.budgets import budgets
    from nemorouter.services.transaction.lookup import text_id

    kind, reference = whose.scope()
    with_store(
        common,
        lambda context, actor: budgets.clear_budget(
            context, actor, kind, reference or text_id(Kind.ORG, actor.org)
        ),
    )
    if common.json:
        print_json({"cleared": True})
    else:
        note("The budget is gone.")


@app.command(name="list")
def list_budgets(*, common: Common = DEFAULTS) -> None:
    """List all budgets with what is spent of them."""
    from nemorouter.services.budgets import budgets

    found = with_store(common, budgets.list_budgets)
    if common.json:
        print_json({"data": found})
    else:
        _table(found)


def _table(found: "list[ScopeBudget]") -> None:
    print_table(
        ("KIND", "ID", "NAME", "SPENT", "MAX SPEND", "DURATION", "RESETS AT"),
        (
            (
                one.kind,
                one.id,
                one.name,
                one.budget.spent,
                one.budget.max_spend,
                one.budget.duration,
                one.budget.resets_at,
            )
            for one in found
        ),
    )
