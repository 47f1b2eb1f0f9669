"""Test that every rate reaches every face: a place that forgets a row of the table fails here."""

import re
from typing import Any

import pytest

from nemorouter import reference
from nemorouter.cli.run import run
from nemorouter.cluster.clock import BankClock
from nemorouter.cluster.rates.holder import Holder
from nemorouter.cluster.rates.messages import BucketAddress
from nemorouter.cluster.rates.terms import Terms
from nemorouter.control.api import ROUTES, openapi
from nemorouter.control.pages import forms
from nemorouter.control.pages.render import environment
from nemorouter.errors import CATALOGUE, Code
from nemorouter.services.fields.views import BudgetView, ScopeView
from nemorouter.store.schema import keys, orgs, teams, users
from nemorouter.types import RATES, Kind, Policy, Rate
from tests.support.documents import REFERENCE
from tests.support.leases.words import Words

LIMIT = 1_234_567
BURST = 7_654_321
SECOND = 1_000_000

each_rate = pytest.mark.parametrize("rate", RATES, ids=lambda rate: rate.name)


@each_rate
@pytest.mark.parametrize("table", [orgs, teams, users, keys], ids=str)
def test_the_store_has_its_columns(rate: Rate, table: Any) -> None:
    assert {rate.name, rate.burst} <= set(table.c.keys())


@each_rate
@pytest.mark.parametrize(
    "name",
    ["NewKeyBody", "KeyPatch", "NewScope", "ScopePatch", "NewMember", "MemberPatch"],
)
def test_the_api_takes_it_within_its_bounds(rate: Rate, name: str) -> None:
    fields = openapi.document(ROUTES)["components"]["schemas"][name]["properties"]
    for field in (rate.name, rate.burst):
        number = next(part for part in fields[field]["anyOf"] if part["type"] == "integer")
        assert (number["minimum"], number["maximum"]) == (0, rate.most)


@each_rate
@pytest.mark.parametrize("name", ["Key", "CreatedKey", "Team", "UserView", "Org"])
def test_the_api_tells_it(rate: Rate, name: str) -> None:
    schema = openapi.document(ROUTES)["components"]["schemas"][name]
    assert rate.name in schema["required"]
    assert (rate.burst in schema["required"]) == (name not in ("Key", "CreatedKey"))


@each_rate
@pytest.mark.parametrize(
    "command",
    ["keys create", "keys update", "teams create", "teams update", "members add", "orgs update"],
)
def test_the_command_line_has_its_options(
    rate: Rate, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert f"--{rate.name} STR: {rate.label}" in said
    assert f"--{rate.burst.replace('_', '-')} STR: " in said


@each_rate
def test_the_pages_ask_for_it_and_show_it(rate: Rate) -> None:
    parts: Any = environment().get_template("parts.html").module
    given = {one.name: "" for one in RATES} | {rate.name: f"{LIMIT:,}"}
    form = forms.Form(given)
    asked = parts.scope_fields(form, forms.DURATIONS)
    assert re.search(rf'name="{rate.name}" type="text" value="1,234,567"', asked)
    assert f">{rate.label}</label>" in asked
    assert forms.rates(form) == {one.name: None for one in RATES} | {rate.name: LIMIT}
    scope = view(**{rate.name: LIMIT, rate.burst: BURST})
    assert forms.limits(scope)[rate.name] == str(LIMIT)
    assert f"<dt>{rate.label}</dt><dd>1,234,567, at most 7,654,321 at once</dd>" in str(
        parts.limits_card(scope)
    )
    assert f'1,234,567 <abbr title="{rate.label}">' in str(parts.rates_of(scope))


@each_rate
def test_hosts_share_it(rate: Rate) -> None:
    place = RATES.index(rate)
    names = BucketAddress(int(Kind.KEY), 1, 1, place).keys("nemo", "2026-01-01")
    assert names[1].endswith(f":{rate.name}")
    clock = BankClock()
    clock.observe(1 << 50, SECOND)
    holder = Holder(Words(LIMIT, BURST, lambda: SECOND), 0, place, Terms(), 1, SECOND)
    holder.demand(1)
    ask = holder.ask(SECOND, clock, 2)
    assert ask is not None
    assert (ask.limit, ask.burst, ask.period) == (LIMIT, BURST, rate.period_s * SECOND)


@each_rate
def test_the_reference_meters_it(rate: Rate) -> None:
    limits = tuple(LIMIT if one is rate else None for one in RATES)
    arena = reference.Arena.private(1)
    index = arena.put(Policy(kind=Kind.ORG, id=1, version=1, limits=limits))
    assert arena.meters(index).remaining == limits


@each_rate
def test_its_refusal_is_in_the_catalogue(rate: Rate) -> None:
    problem = CATALOGUE[Code[rate.code.upper()]]
    assert (problem.status, problem.type, problem.code) == (429, "rate_limit_error", rate.code)
    assert problem.message.endswith(f"{rate.resource} per {rate.period}.")


@each_rate
def test_the_reference_page_has_its_row(rate: Rate) -> None:
    row = f"| `{rate.name}`, `{rate.burst}` | {rate.resource} | {rate.period} | {rate.most:,} |"
    assert f"{row} `{rate.code}` |" in REFERENCE


def view(**limits: int) -> ScopeView:
    fields: dict[str, Any] = dict.fromkeys(ScopeView.__struct_fields__)
    fields |= {"name": "x", "allowed_models": [], "budget": a_budget()} | limits
    return ScopeView(**fields)


def a_budget() -> BudgetView:
    return BudgetView(max_spend="1.00", duration="daily", spent="0.00", resets_at=None)
