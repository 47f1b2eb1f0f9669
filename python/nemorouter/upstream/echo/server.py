"""The echo upstream: one function per endpoint, and OpenAI's error for a body that an endpoint cannot use."""

from collections.abc import Callable

import msgspec

from nemorouter.types import Endpoint
from nemorouter.upstream.base import Answer, Request
from nemorouter.upstream.echo.chat import JSON, chat, completion
from nemorouter.upstream.echo.other import embeddings, images, moderations
from nemorouter.upstream.echo.responses import response

_ANSWERS: dict[int, Callable[[Request], Answer]] = {
    Endpoint.CHAT_COMPLETIONS: chat,
    Endpoint.COMPLETIONS: completion,
    Endpoint.RESPONSES: response,
    Endpoint.EMBEDDINGS: embeddings,
    Endpoint.IMAGES_GENERATIONS: images,
    Endpoint.MODERATIONS: moderations,
}


class Echo:
    """Says back what it is told. Never waits."""

    name = "echo"
    instant = True

    async def send(self, request: Request) -> Answer:
        """The answer, or a 400 that names the field at fault."""
        try:
            return _ANSWERS[request.endpoint](request)
        except (msgspec.ValidationError, UnicodeError) as error:
            message = str(error)
        row = {"message": message, "type": "invalid_request_error", "param": None, "code": "invalid_request"}
        return Answer(400, JSON, msgspec.json.encode({"error": row}))

    async def close(self) -> None:
        """Nothing is open."""
