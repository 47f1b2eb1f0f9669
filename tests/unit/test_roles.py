"""The table of roles says what the contract says."""

import pytest

from nemorouter.errors import ForbiddenError
from nemorouter.roles import ACTIONS, OPERATOR_ACTIONS, Actor, Role, Visibility, require


def reach(role: Role, action: str) -> Visibility | None:
    try:
        return require(Actor(org=1, role=role, name="x"), action)
    except ForbiddenError:
        return None


def test_owners_do_everything() -> None:
    assert {reach(Role.OWNER, action) for action in ACTIONS} == {Visibility.ALL}


def test_admins_do_all_but_what_only_owners_may() -> None:
    assert [action for action in ACTIONS if reach(Role.ADMIN, action) is None] == ["org.delete"]


@pytest.mark.parametrize("action", sorted(OPERATOR_ACTIONS))
def test_the_installation_is_the_operator_s(action: str) -> None:
    """Row P2 of the attacks: an admin of any org set the prices of all orgs."""
    assert {reach(role, action) for role in Role} == {None}
    operator = Actor(org=1, role=Role.VIEWER, name="x", operator=True)
    assert require(operator, action) is Visibility.ALL


def test_an_operator_is_nothing_more_in_an_org() -> None:
    operator = Actor(org=1, role=Role.VIEWER, name="x", operator=True)
    with pytest.raises(ForbiddenError):
        require(operator, "key.create")


def test_viewers_only_read() -> None:
    assert all(action.endswith(".read") for action in ACTIONS if reach(Role.VIEWER, action))


@pytest.mark.parametrize(
    "action", ["key.read", "key.create", "key.update", "key.revoke", "usage.read", "log.read"]
)
def test_members_have_their_own(action: str) -> None:
    assert reach(Role.MEMBER, action) is Visibility.OWN


@pytest.mark.parametrize(
    "action", ["budget.set", "team.create", "member.add", "audit.read", "org.update"]
)
def test_members_change_nothing_that_is_shared(action: str) -> None:
    assert reach(Role.MEMBER, action) is None
