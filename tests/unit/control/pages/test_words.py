"""Words, charts, forms and differences: the pure parts of the pages."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from jinja2 import UndefinedError

from nemorouter.control.pages import charts, diff, forms, render, series, words
from nemorouter.errors import NotFoundError, RefusedError
from nemorouter.services.budgets.budgets import NewBudget
from nemorouter.services.reports.overview import Totals

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "$0.00"),
        ("1234.5", "$1,234.50"),
        ("0.01", "$0.01"),
        ("0.0099", "$0.0099"),
        ("0.000000001", "$0.0000000010"),
        ("0.00012345", "$0.00012"),
        ("-2", "-$2.00"),
        (None, "–"),
    ],
)
def test_money(text: str | None, said: str) -> None:
    assert words.usd(text) == said


def test_what_was_typed_is_shown_with_every_digit() -> None:
    assert [words.exact(text) for text in ("1234.5", "0.075", "0.00", "10000000.00")] == [
        "$1,234.5",
        "$0.075",
        "$0.00",
        "$10,000,000.00",
    ]


def test_counts_and_limits() -> None:
    assert [words.counted(n, "key") for n in (0, 1, 1200)] == ["0 keys", "1 key", "1,200 keys"]
    assert [words.counted(n, "person", "people") for n in (1, 2)] == ["1 person", "2 people"]
    assert [words.compact(n) for n in (0, 9_999, 10_000, 12_345, 1_500_000, 2 * 10**12)] == [
        "0",
        "9,999",
        "10k",
        "12.3k",
        "1.5M",
        "2T",
    ]
    assert words.limit(None) == "Unlimited"
    assert words.limit(0) == "0"


def test_a_share_is_full_only_when_all_is_spent() -> None:
    assert words.percent("49.9999", "50") == 99
    assert words.percent("50", "50") == 100
    assert words.percent("0", "0") == 100
    assert [words.level(n) for n in (79, 80, 99, 100)] == ["calm", "near", "near", "over"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-11-25T11:59:30.000Z", "just now"),
        ("2026-11-25T11:58:00.000Z", "2 minutes ago"),
        ("2026-11-25T11:00:00.000Z", "1 hour ago"),
        ("2025-01-01T00:00:00.000Z", "1 year ago"),
        ("2026-11-27T12:00:00.000Z", "in 2 days"),
        (None, "never"),
    ],
)
def test_ages(text: str | None, said: str) -> None:
    assert words.ago(text, NOW) == said


@pytest.mark.parametrize(
    ("value", "top"), [("0", 1), ("0.03", "0.04"), ("7", 10), ("21", 40), ("50", 50), ("51", 100)]
)
def test_an_axis_ends_at_a_round_number(value: str, top: str | int) -> None:
    assert charts.ceiling(Decimal(value)) == Decimal(top)


def test_bars_stack_up_to_the_total_and_fold_the_rest() -> None:
    days = series.last_days(3, NOW)
    many = [charts.Series(f"m{i}", [Decimal(i), Decimal(0), Decimal(1)]) for i in range(8)]
    chart = charts.bars("c", "Title", days, many)
    assert len(chart.names) == charts.COLOURS
    assert chart.names[-1] == "3 others"
    assert chart.top == "40"
    drawn = sum(Decimal(part.height) for part in chart.bars[0].parts)
    assert abs(drawn - Decimal(28) / 40 * charts.HEIGHT) < Decimal("0.1")
    assert chart.bars[1].parts == []
    assert [row[2] for row in chart.rows] == ["28", "0", "8"]


def test_an_empty_chart_draws_nothing() -> None:
    chart = series.spend([], "c")
    assert chart.empty
    assert len(chart.bars) == 30
    assert not any(bar.parts for bar in chart.bars)


def test_little_is_still_seen() -> None:
    days = series.last_days(2, NOW)
    chart = charts.bars("c", "t", days, [charts.Series("a", [Decimal(1), Decimal(100_000)])])
    assert Decimal(chart.bars[0].parts[0].height) == Decimal("0.8")


def test_totals_are_exact() -> None:
    rows = [
        Totals(day="2026-11-25", model=m, requests=1, cost="0.100000001") for m in ("a", "b", "a")
    ]
    assert series.total(rows).cost == "0.300000003"
    assert [(one.name, one.requests) for one in series.by_model(rows)] == [("a", 2), ("b", 1)]


def test_only_what_differs_is_shown() -> None:
    before: dict[str, object] = {
        "name": "a",
        "rpm": None,
        "budget": {"max_spend": "1.00", "duration": "daily"},
        "allowed_models": [],
    }
    after = {"name": "a", "rpm": 5, "budget": None, "allowed_models": ["m"]}
    assert diff.fields(before, after) == [
        ("rpm", None, "5"),
        ("budget.max_spend", "1.00", None),
        ("budget.duration", "daily", None),
        ("allowed_models", None, '["m"]'),
    ]
    assert diff.fields(None, {"name": "a", "rpm": None}) == [("name", None, "a")]
    assert diff.fields({"a": False}, {"a": True}) == [("a", "false", "true")]


def _form(**values: str) -> forms.Form:
    return forms.Form(values, lists={name: [value] for name, value in values.items()})


def test_numbers_of_a_form() -> None:
    assert forms.number(_form(rpm=" 1,000 "), "rpm") == 1000
    assert forms.number(_form(rpm=""), "rpm") is None
    assert forms.number(_form(rpm="0"), "rpm") == 0
    for bad in ("-1", "1.5", "٣", "9" * 21, "x"):
        with pytest.raises(RefusedError):
            forms.number(_form(rpm=bad), "rpm")


def test_an_error_stands_at_its_field_and_keeps_what_was_typed() -> None:
    form = _form(name="x" * 300).refused(
        RefusedError("name must have 1 to 200 characters.", field="name")
    )
    assert form.errors == {"name": "The name must have 1 to 200 characters."}
    assert form.text("name") == "x" * 300
    other = _form(name="x").refused(RefusedError("No.", field="elsewhere"))
    assert (dict(other.errors), other.problem) == ({}, "No.")


def test_lists_of_a_form() -> None:
    assert forms.lines(_form(m="gpt-4o\n a b ,\n\n c"), "m") == ("gpt-4o", "a b", "c")
    assert forms.words(_form(m="10.0.0.0/8, ::1\n1.2.3.4"), "m") == ("10.0.0.0/8", "::1", "1.2.3.4")
    assert forms.budget(_form(max_spend="$1,000.00", duration="daily")) == NewBudget(
        max_spend="$1,000.00", duration="daily"
    )
    assert forms.budget(_form(max_spend=" ")) is None
    assert forms.ticked(_form(m=""), "m") == ()
    with pytest.raises(NotFoundError):
        forms.only_id("key", "production chat")


@pytest.mark.parametrize("read", [forms.lines, forms.words, forms.ticked, forms.number])
def test_a_field_that_is_missing_lifts_nothing(read: Callable[[forms.Form, str], object]) -> None:
    """Rows P14 and P28 of the attacks: a form without its fields made an unrestricted key."""
    with pytest.raises(RefusedError, match="missing"):
        read(_form(), "allowed_ips")


def test_a_form_without_a_budget_field_lifts_no_budget() -> None:
    for form in (_form(), _form(max_spend="5")):
        with pytest.raises(RefusedError, match="missing"):
            forms.budget(form)


@pytest.mark.parametrize("read", [forms.lines, forms.words])
def test_a_list_of_nothing_lifts_nothing(read: Callable[[forms.Form, str], object]) -> None:
    with pytest.raises(RefusedError, match="names nothing"):
        read(_form(allowed_ips=" , ,"), "allowed_ips")


@pytest.mark.parametrize(
    "path", ["https://evil.example", "//evil.example", "/\\evil.example", "evil"]
)
def test_redirects_stay_here(path: str) -> None:
    assert render.go(path).url == "/"


def test_every_template_compiles_and_escapes() -> None:
    environment = render.environment()
    for name in environment.list_templates(extensions=["html"]):
        environment.get_template(name)
    text = environment.from_string("{{ a }}|{{ {'b': a} | xmlattr }}").render(a="<\"'>")
    assert text == '&lt;&#34;&#39;&gt;| b="&lt;&#34;&#39;&gt;"'
    with pytest.raises(UndefinedError):
        environment.from_string("{{ missing }}").render()


def test_templates_hold_no_inline_script_or_style() -> None:
    environment = render.environment()
    for name in environment.list_templates(extensions=["html"]):
        assert environment.loader is not None
        source = environment.loader.get_source(environment, name)[0]
        for forbidden in (
            "<style",
            " style=",
            " onclick",
            " onchange",
            "<script>",
            "| safe",
            "javascript:",
        ):
            assert forbidden not in source, (name, forbidden)


def test_sums_by_model_take_one_pass() -> None:
    """Row P11 of the attacks: the work grew with the square of the number of models."""

    class Counted(list[Totals]):
        passes = 0

        def __iter__(self) -> Iterator[Totals]:
            self.passes += 1
            return super().__iter__()

    rows = Counted(Totals(day="2026-11-25", model=f"m{n}", requests=n) for n in range(300))
    assert [one.name for one in series.by_model(rows)][:2] == ["m299", "m298"]
    assert rows.passes == 1
    series.spend(rows, "spend", ["2026-11-25"])
    assert rows.passes == 2
