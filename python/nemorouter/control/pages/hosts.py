"""The page of the hosts: who lives, how far each applies, and how quickly all do."""

from typing import Final

from litestar import Response, get
from litestar.params import FromPath

from nemorouter.control.pages.frame import AnyRequest, open_frame
from nemorouter.errors import ConflictError, StoreError
from nemorouter.services.operations import hosts


@get("/{org:str}/hosts")
async def show_hosts(request: AnyRequest, org: FromPath[str]) -> Response[str]:
    """All hosts; where there is one only, or Redis is away, the reason."""
    frame = await open_frame(request, org, "Hosts")
    try:
        fleet = await hosts.list_hosts(frame.context, frame.actor)
    except (ConflictError, StoreError) as error:
        return frame.page("hosts.html", fleet=None, reason=str(error))
    return frame.page("hosts.html", fleet=fleet, reason="")


HANDLERS: Final = [show_hosts]
