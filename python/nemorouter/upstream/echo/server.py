"""Answer as an OpenAI-compatible provider without a network: one function per endpoint.

A body that an endpoint cannot use gets OpenAI's error.
"""

from collections.abc import Callable

import msgspec

from nemorouter._core import echo_chat
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

    async def send(self, request: Request) -> Answer:
        """As ``instant``."""
        return self.instant(request.endpoint, request.body, request.request_id)

    def instant(self, endpoint: int, body: bytes, request_id: str) -> Answer:
        """Answer at once; a body that the endpoint cannot use gets a 400 that names the field."""
        if endpoint == Endpoint.CHAT_COMPLETIONS:
            echoed = echo_chat(body, request_id[4:])
            if echoed is not None:
                answer, given, made = echoed
                return Answer(200, JSON, answer, usage=(given, 0, made))
        try:
            return _ANSWERS[endpoint](Request(endpoint, "", body, request_id))
        except (msgspec.ValidationError, UnicodeError) as error:
            message = str(error)
        row = {
            "message": message,
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_request",
        }
        return Answer(400, JSON, msgspec.json.encode({"error": row}))

    async def close(self) -> None:
        """Nothing is open."""
