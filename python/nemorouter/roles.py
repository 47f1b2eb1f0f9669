"""Map roles to the actions they may take: one table, asked by every service. A leaf."""

from enum import IntEnum
from typing import Final

import msgspec

from nemorouter.errors import ForbiddenError


class Role(IntEnum):
    """A person's place in an org. The numbers are stored."""

    OWNER = 1
    ADMIN = 2
    MEMBER = 3
    VIEWER = 4


class Visibility(IntEnum):
    """Limit an action to everything of the org, or to what belongs to the user."""

    OWN = 1
    ALL = 2


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf a service acts. ``user`` 0: no person (the local command line).

    ``operator``: it also acts for the whole installation, whatever its role in the org.
    """

    org: int
    role: Role
    name: str  # as the audit log names it: an e-mail address, a management key's id, "cli", "setup"
    user: int = 0
    source_ip: str = ""
    operator: bool = False


_READS: Final = {
    Role.OWNER: Visibility.ALL,
    Role.ADMIN: Visibility.ALL,
    Role.MEMBER: Visibility.OWN,
    Role.VIEWER: Visibility.ALL,
}
_OWN_KEYS: Final = {
    Role.OWNER: Visibility.ALL,
    Role.ADMIN: Visibility.ALL,
    Role.MEMBER: Visibility.OWN,
}
_SHARED: Final = dict.fromkeys(Role, Visibility.ALL)
_ADMINS: Final = {Role.OWNER: Visibility.ALL, Role.ADMIN: Visibility.ALL}
_OWNERS: Final = {Role.OWNER: Visibility.ALL}

ACTIONS: Final[dict[str, dict[Role, Visibility]]] = {
    "key.read": _READS,
    "key.create": _OWN_KEYS,
    "key.update": _OWN_KEYS,
    "key.revoke": _OWN_KEYS,
    "team.read": _SHARED,
    "team.create": _ADMINS,
    "team.update": _ADMINS,
    "member.read": _SHARED,
    "member.add": _ADMINS,
    "member.update": _ADMINS,
    "member.remove": _ADMINS,
    "invitation.read": _ADMINS,
    "invitation.create": _ADMINS,
    "invitation.revoke": _ADMINS,
    "management_key.read": _ADMINS,
    "management_key.create": _ADMINS,
    "management_key.revoke": _ADMINS,
    "budget.read": _READS,
    "budget.set": _ADMINS,
    "price.read": _SHARED,
    "usage.read": _READS,
    "log.read": _READS,
    "audit.read": _ADMINS,
    "alert.read": _READS,
    "webhook.read": _ADMINS,
    "webhook.create": _ADMINS,
    "webhook.delete": _ADMINS,
    "org.read": _SHARED,
    "org.update": _ADMINS,
    "org.delete": _OWNERS,
}


OPERATOR_ACTIONS: Final = frozenset(
    {
        "audit.verify",
        "host.forget",
        "host.read",
        "operator.read",
        "operator.set",
        "org.create",
        "pepper.rotate",
        "price.delete",
        "price.set",
    }
)
"""Actions on the whole installation: no role of an org allows them, only an operator may."""


def visibility(actor: Actor, action: str) -> Visibility | None:
    """Answer how far ``actor`` may go with ``action``; None if not at all."""
    if action in OPERATOR_ACTIONS:
        return Visibility.ALL if actor.operator else None
    return ACTIONS[action].get(actor.role)


def require(actor: Actor, action: str) -> Visibility:
    """Answer how far ``actor`` may go with ``action``; ForbiddenError if not at all."""
    found = visibility(actor, action)
    if found is not None:
        return found
    if action in OPERATOR_ACTIONS:
        raise ForbiddenError(f"Only an operator of this installation may do {action}.")
    raise ForbiddenError(f"The role {actor.role.name.lower()} does not allow {action}.")
