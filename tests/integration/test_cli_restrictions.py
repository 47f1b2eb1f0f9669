"""Options that restrict: nothing is lifted but by a word that says so."""

import pytest

from nemorouter.types import RATES
from tests.support.shell import Shell

RESTRICTING = [
    *("models", "budget", "duration"),
    *(field.replace("_", "-") for rate in RATES for field in (rate.name, rate.burst)),
]
OF_KEYS = ["ips", "endpoints", "expires"]
UNSET = [
    *(
        (command, option)
        for command in ("keys create --name x", "keys update gift", "teams create --name x")
        for option in RESTRICTING
    ),
    *((command, "team") for command in ("keys create --name x",)),
    *(
        (command, option)
        for command in ("keys create --name x", "keys update gift")
        for option in OF_KEYS
    ),
    *(("members add --email x@acme.test", option) for option in RESTRICTING),
    *(("orgs update", option) for option in RESTRICTING),
    *((command, "key") for command in ("budgets set 5", "budgets clear")),
]


@pytest.mark.parametrize("text", ["", " ", ",", " ,, "])
def test_an_unset_shell_variable_lifts_nothing(shell: Shell, text: str) -> None:
    """Row P28 of the attacks: ``--ips "$UNSET"`` made a key that any address may use."""
    shell.json("keys", "create", "--name", "gift", "--ips", "10.0.0.1", "--models", "m")
    before = shell.json("keys", "list"), shell.json("teams", "list"), shell.json("budgets", "list")
    for command, option in UNSET:
        code, out, err = shell(*command.split(" "), f"--{option}", text)
        assert (code, out) == (2, ""), (command, option)
        assert f"--{option}" in err
        assert "empty" in err
    assert before == (
        shell.json("keys", "list"),
        shell.json("teams", "list"),
        shell.json("budgets", "list"),
    )


def test_what_lifts_a_restriction_is_said(shell: Shell) -> None:
    made = shell.json(
        *("keys", "create", "--name", "x", "--ips", "10.0.0.1", "--models", "m"),
        *("--endpoints", "embeddings", "--rpm", "1", "--budget", "5", "--expires", "1d"),
    )
    assert made["allowed_ips"] == ["10.0.0.1/32"]
    lifted = shell.json(
        *("keys", "update", "x", "--ips", "all", "--models", "all", "--endpoints", "all"),
        *("--rpm", "unlimited", "--budget", "none", "--expires", "never"),
    )
    assert [lifted[f"allowed_{name}"] for name in ("ips", "models", "endpoints")] == [[], [], []]
    assert (lifted["rpm"], lifted["budget"], lifted["expires_at"]) == (None, None, None)
