"""``nemorouter operators``."""

from cyclopts import App

from nemorouter.cli.output import note, print_fields, print_json, print_table
from nemorouter.cli.run import DEFAULTS, Common, group, with_store

app: App = group("operators")


@app.command(name="list")
def list_operators(*, common: Common = DEFAULTS) -> None:
    """List the operators of this installation, of all orgs."""
    from nemorouter.services.access import operators

    found = with_store(common, operators.list_operators)
    if common.json:
        print_json({"data": found})
        return
    print_table(
        ("ID", "EMAIL", "NAME", "ORG", "WHY"),
        (
            (
                one.id,
                one.email,
                one.name,
                one.org_name,
                "owner of the first org" if one.by_role else "marked",
            )
            for one in found
        ),
    )


@app.command
def add(email: str, /, *, common: Common = DEFAULTS) -> None:
    """Make the person with the address EMAIL, of any org, an operator."""
    from nemorouter.services.access import operators

    new = operators.NewOperator(email=email)
    found = with_store(common, lambda context, actor: operators.add_operator(context, actor, new))
    if common.json:
        print_json(found)
    else:
        print_fields(found)


@app.command
def remove(person: str, /, *, common: Common = DEFAULTS) -> None:
    """Make PERSON (e-mail or id) no operator; their role in their org stays."""
    from nemorouter.services.access import operators

    with_store(common, lambda context, actor: operators.remove_operator(context, actor, person))
    note(f"{person} is no operator.")
