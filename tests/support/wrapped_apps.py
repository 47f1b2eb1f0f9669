"""Define apps that ``NemoAuth`` wraps in the tests, as a user would write them.

Settings come from the environment.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import FileResponse, JSONResponse
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route

from nemorouter import NemoAuth, Settings
from nemorouter._core import CREDENTIAL_HEADERS

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
api = FastAPI()


@api.get("/open")
async def open_page(request: Request) -> dict[str, Any]:
    return {"state": hasattr(request.state, "nemorouter")}


@api.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    caller = request.state.nemorouter
    body = await request.json()
    if body["model"] == "broken":
        raise RuntimeError("the app is broken")
    if body["model"] == "teapot":
        return JSONResponse({"detail": "short and stout"}, 418)
    if body["model"] == "reporting":
        caller.report_usage(100, 20, cached=30)
        return JSONResponse({"no": "usage"})
    shown = {
        name: getattr(caller, name)
        for name in ("key_id", "key_name", "alias", "org_id", "team_id", "user_id")
    }
    seen = {"authorization": request.headers.get("authorization"), "request_id": caller.request_id}
    return JSONResponse({"usage": USAGE, "caller": shown, **seen})


@api.get("/v1/other")
async def other(request: Request) -> dict[str, Any]:
    return {"ok": True, "credentials": [n for n in CREDENTIAL_HEADERS if n in request.headers]}


@api.post("/v1/summaries")
async def summaries(request: Request) -> dict[str, Any]:
    return {"bytes": len(await request.body())}


@api.post("/v1/completions")
async def completions(request: Request) -> Response:
    """Answer in the way that the prompt asks for."""
    way = (await request.json())["prompt"]
    if way == "events":
        events = (
            b'data: {"choices":[{"text":"abcd"}]}\n\n'
            b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
        )
        return Response(events, media_type="text/event-stream")
    if way == "background":
        return JSONResponse({"usage": USAGE}, background=BackgroundTask(_fail))
    if way == "file":
        return FileResponse(__file__)
    return JSONResponse({"usage": USAGE, "text": "x" * 5000})


async def _fail() -> None:
    raise RuntimeError("sk-nemo-" + "b" * 20 + " failed in the background")


@api.websocket("/v1/live")
async def live(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("open")


api.add_middleware(GZipMiddleware)


async def stream(request: StarletteRequest) -> Response:
    asked = await request.json()

    async def events() -> AsyncIterator[bytes]:
        for _ in range(5 if asked["model"] != "slow" else 200):
            yield b'data: {"choices":[{"delta":{"content":"abcd"}}]}\n\n'
            await asyncio.sleep(0.02)
        yield (
            b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,'
            b'"total_tokens":7}}\n\n'
        )
        yield b"data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


class RsgiApp:
    """A hand-written RSGI app."""

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        body = await protocol()
        caller = scope.state["nemorouter"] if hasattr(scope, "state") else None
        if scope.path == "/v1/completions":
            transport = protocol.response_stream(200, [("content-type", "text/event-stream")])
            for _ in range(200 if b'"slow"' in body else 1):
                await transport.send_bytes(bytearray(b'data: {"choices":[{"text":"abcd"}]}\n\n'))
                await asyncio.sleep(0.02)
            await transport.send_str(
                'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
            )
            return
        name = caller.key_name if caller else "nobody"
        text = (
            f'{{"usage":{{"prompt_tokens":3,"completion_tokens":4}},"name":"{name}",'
            f'"bytes":{len(body)}}}'
        )
        protocol.response_str(200, [("content-type", "application/json")], text)


async def mounted_app(scope: Any, receive: Any, send: Any) -> None:
    """Mount the guarded app, and pass it the server's lifespan events."""
    await (_guarded if scope["type"] == "lifespan" else _outer)(scope, receive, send)


_guarded = NemoAuth(api, Settings.load())
_outer = Starlette(routes=[Mount("/gw", _guarded)])
fastapi_app = NemoAuth(api, Settings.load())
starlette_app = NemoAuth(
    Starlette(routes=[Route("/v1/chat/completions", stream, methods=["POST"])]), Settings.load()
)
rsgi_app = NemoAuth(RsgiApp(), Settings.load())
