"""Answer a constant through FastAPI: ``bare`` as it is, and ``guarded`` behind NemoAuth."""

from typing import Any

from fastapi import FastAPI, Request, Response

from benches.load.apps.upstream_rsgi import BODY

bare = FastAPI(openapi_url=None)


@bare.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    """Read the body and answer the local provider's constant."""
    await request.body()
    return Response(BODY, media_type="application/json")


def __getattr__(name: str) -> Any:
    """Build ``guarded`` when it is first imported: it needs settings, and ``bare`` does not."""
    if name == "guarded":
        from nemorouter import NemoAuth, Settings

        return globals().setdefault("guarded", NemoAuth(bare, Settings.load()))
    raise AttributeError(name)
