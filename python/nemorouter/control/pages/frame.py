"""Build the frame around each page: the org, what the user may do there, the last message."""

from typing import Any, Final, NamedTuple
from urllib.parse import quote

from litestar import Request, Response

from nemorouter.control import auth, policy
from nemorouter.control.pages.render import page
from nemorouter.errors import ForbiddenError, NotFoundError
from nemorouter.roles import ACTIONS, OPERATOR_ACTIONS, Actor, require, visibility
from nemorouter.services.operations.orgs import slug
from nemorouter.services.reports import overview
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import text_id
from nemorouter.types import Kind

AnyRequest = Request[Any, Any, Any]

_NAV: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("Home", "", "home", "usage.read"),
    ("Keys", "/keys", "key", "key.read"),
    ("Budgets", "/budgets", "budget", "budget.read"),
    ("Teams", "/teams", "team", "team.read"),
    ("People", "/people/members", "person", "member.read"),
    ("Logs", "/logs", "log", "log.read"),
    ("Audit", "/audit", "audit", "audit.read"),
    ("Hosts", "/hosts", "host", "host.read"),
    ("Settings", "/settings", "settings", "team.read"),
)
_RESERVED: Final = frozenset(
    {
        "api",
        "healthz",
        "invitations",
        "login",
        "logout",
        "metrics",
        "readyz",
        "reset",
        "setup",
        "static",
    }
)

DONE: Final = {
    "made-before": "This form was sent before. Nothing was made a second time.",
    "key-saved": "Saved. It holds from the next request on.",
    "key-deleted": "The key is deleted. It answers no request any more.",
    "budget-saved": "The budget is saved. It holds from the next request on.",
    "budget-removed": "The budget is removed.",
    "team-created": "The team is made.",
    "team-saved": "The team is saved.",
    "member-saved": "Saved.",
    "member-removed": "The person is removed, with all their sessions.",
    "invitation-revoked": "The invitation is withdrawn. Its link is of no use any more.",
    "org-saved": "The organization is saved.",
    "price-saved": "The price is saved. It holds for requests that start from now on.",
    "operator-added": "The person is an operator now.",
    "operator-removed": "The person is no operator any more.",
    "price-deleted": "The price is deleted.",
    "password-changed": "Your password is changed. All your other sessions have ended.",
    "management-key-revoked": "The management key is deleted.",
    "webhook-deleted": "The webhook is deleted.",
    "sessions-ended": "All your other sessions have ended.",
    "welcome": "Welcome. Everything is ready: create your first key.",
    "signed-out": "You are signed out.",
}
"""Messages of pages after an action.

An address names one of them, so that nobody can put words into a page.
"""


class OrgLink(NamedTuple):
    """An org as the switcher shows it."""

    name: str
    path: str


class Nav(NamedTuple):
    """An entry of the navigation."""

    name: str
    href: str
    icon: str


class Frame(NamedTuple):
    """Hold what the base template shows, and what handlers need."""

    context: Context
    actor: Actor
    email: str
    csrf: str
    session: int
    org: OrgLink
    org_id: str
    orgs: list[OrgLink]
    section: str
    flash: str

    @property
    def path(self) -> str:
        """Return the path under which the org's pages lie, such as ``/acme``."""
        return self.org.path

    @property
    def role(self) -> str:
        """The person's role here."""
        return self.actor.role.name.lower()

    @property
    def nav(self) -> list[Nav]:
        """The pages that the person may open; that of the hosts only where there may be several."""
        alone = self.context.settings.redis_url is None
        entries = [
            entry for entry in _NAV if self.can(entry[3]) and not (alone and entry[1] == "/hosts")
        ]
        return [Nav(name, self.path + path, icon) for name, path, icon, _ in entries]

    def can(self, action: str) -> bool:
        """May the person do this here? Decides what is shown; what is allowed, the services say."""
        return visibility(self.actor, action) is not None

    def is_me(self, id: str) -> bool:
        """Is this the id of the person who looks?"""
        return id == text_id(Kind.USER, self.actor.user)

    def turns(
        self, here: str, cursor: str | None, next_cursor: str | None
    ) -> dict[str, str | None]:
        """Links of a list that goes on: to its next page, and back to its first."""
        at = f"{self.path}{here}"
        return {
            "next": f"{at}?cursor={quote(next_cursor)}" if next_cursor else None,
            "first": at if cursor else None,
        }

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response[str]:
        """Render a page within this frame."""
        return page(template, status=status, frame=self, **values)


async def open_frame(request: AnyRequest, org: str, section: str) -> Frame:
    """Open the frame of an org that the user may enter.

    NotFoundError: any other org, whether it exists or not. ForbiddenError: the user's role does not
    include this page.
    """
    signed = auth.require(request)
    context = auth.context_of(request)
    places = await overview.places(context, signed.actor)
    paths = _paths(places)
    here = next((place for place in places if org in (paths[place.id], place.id)), None)
    if here is None:
        raise NotFoundError("There is nothing at this URL.")
    actor = Actor(
        org=here.org,
        role=here.role,
        name=signed.email,
        user=signed.actor.user,
        source_ip=signed.actor.source_ip,
        operator=signed.actor.operator,
    )
    action = policy.access(request.method, request.scope["path_template"])
    if action in ACTIONS or action in OPERATOR_ACTIONS:
        require(actor, action)  # before anything is read; the services ask once more
    orgs = [OrgLink(place.name, "/" + quote(paths[place.id])) for place in places]
    return Frame(
        context=context,
        actor=actor,
        email=signed.email,
        csrf=signed.csrf,
        session=signed.session,
        org=orgs[places.index(here)],
        org_id=here.id,
        orgs=orgs,
        section=section,
        flash=DONE.get(request.query_params.get("done", ""), ""),
    )


async def home_path(context: Context, actor: Actor) -> str:
    """Return the path to which a sign-in leads: the org of the session.

    ForbiddenError: the user belongs to no org.
    """
    places = await overview.places(context, actor)
    paths = _paths(places)
    for place in sorted(places, key=lambda place: place.org != actor.org):
        return "/" + quote(paths[place.id])
    raise ForbiddenError("You belong to no organization any more.")


def _paths(places: list[overview.Place]) -> dict[str, str]:
    """Choose the path segment of each org: a word made from its name if unique, else its id."""
    slugs = [slug(place.name) for place in places]
    return {
        place.id: word
        if word and word not in _RESERVED and slugs.count(word) == 1 and not word.startswith("v1")
        else place.id
        for place, word in zip(places, slugs, strict=True)
    }
