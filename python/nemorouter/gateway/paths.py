"""The paths that exist, spelt exactly. Any other spelling is unknown: deny by default."""

from typing import Final

from nemorouter.types import Endpoint

POST: Final[dict[str, Endpoint]] = {
    "/v1/chat/completions": Endpoint.CHAT_COMPLETIONS,
    "/v1/completions": Endpoint.COMPLETIONS,
    "/v1/responses": Endpoint.RESPONSES,
    "/v1/embeddings": Endpoint.EMBEDDINGS,
    "/v1/images/generations": Endpoint.IMAGES_GENERATIONS,
    "/v1/moderations": Endpoint.MODERATIONS,
}
"""Model calls: what is admitted, forwarded and settled."""

MODELS: Final = "/v1/models"
MODEL: Final = "/v1/models/"
HEALTH: Final = "/healthz"
READY: Final = "/readyz"
METRICS: Final = "/metrics"


def allowed(path: str) -> str | None:
    """The value of ``Allow`` for a path; None where there is nothing."""
    if path in POST:
        return "POST"
    if path in (HEALTH, READY, METRICS):
        return "GET, HEAD"
    if path == MODELS or (path.startswith(MODEL) and is_model(path)):
        return "GET"
    return None


def is_model(path: str) -> bool:
    """Does ``/v1/models/{id}`` name one model? Ids may hold slashes, but no empty or dot segments."""
    return all(segment not in ("", ".", "..") for segment in path[len(MODEL) :].split("/"))
