"""Apps that answer as the shapes say, for ``NemoAuth`` to wrap. Settings come from the environment.

An app that is given a credential answers 500.
"""

import asyncio
from typing import Any, Final

import msgspec

from nemorouter import NemoAuth, Settings
from nemorouter._core import CREDENTIAL_HEADERS
from tests.support.traffic.shapes import Sent, Step, coded, of_model

_CREDENTIALS: Final = frozenset(CREDENTIAL_HEADERS)
_PATIENCE_S: Final = 10.0
_LOOK_S: Final = 0.01


class BrokenOffError(Exception):
    """The app breaks its answer off."""


def _answer(body: bytes) -> tuple[str, Sent]:
    model = msgspec.json.decode(body)["model"]
    answer = of_model(model).answer
    assert answer is not None
    return model, answer


async def _wait(model: str, step: Step) -> None:
    """Wait until the test tells that what the step waits for has happened."""
    told = Settings.load().data_dir.parent / f"{model}.{step.wait}"
    async with asyncio.timeout(_PATIENCE_S):
        while step.wait and not told.exists():
            await asyncio.sleep(_LOOK_S)
    await asyncio.sleep(step.pause)


def _headers(answer: Sent) -> list[tuple[str, str]]:
    headers = [*answer.headers.items()]
    if answer.coding:
        headers.append(("content-encoding", answer.coding))
    return headers


def _text(step: Step) -> bytes:
    return (step.text.replace("<cost>", "") * step.times).encode()


def _whole(answer: Sent) -> bytes:
    return coded(b"".join(map(_text, answer.send)), answer.coding)


def _has_end(answer: Sent) -> bool:
    return any(step.leave or step.cut for step in answer.send)


async def _whole_body(receive: Any) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _asgi(scope: Any, receive: Any, send: Any) -> None:
    """Answer over ASGI."""
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["method"] != "POST":
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    body = await _whole_body(receive)
    names = {name.decode() for name, _ in scope["headers"]}
    model, answer = _answer(body)
    if names & _CREDENTIALS:
        answer = Sent(status=500)
    pairs = [(name.encode(), value.encode()) for name, value in _headers(answer)]
    await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
    if answer.coding or not (answer.events or _has_end(answer)):
        for step in answer.send:
            await _wait(model, step)
        await send({"type": "http.response.body", "body": _whole(answer)})
        return
    for step in answer.send:
        if step.leave:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await _wait(model, step)
        await send({"type": "http.response.body", "body": _text(step), "more_body": True})
        if step.cut:
            raise BrokenOffError
    await send({"type": "http.response.body", "body": b""})


class _Rsgi:
    """Answers over RSGI."""

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.method != "POST":
            protocol.response_bytes(404, [], b"")
            return
        body = await protocol()
        names = set(scope.headers.keys())
        model, answer = _answer(body)
        if names & _CREDENTIALS:
            answer = Sent(status=500)
        if answer.coding or not (answer.events or _has_end(answer)):
            for step in answer.send:
                await _wait(model, step)
            protocol.response_bytes(answer.status, _headers(answer), _whole(answer))
            return
        transport = protocol.response_stream(answer.status, _headers(answer))
        for step in answer.send:
            if step.leave:
                await protocol.client_disconnect()
                return
            await _wait(model, step)
            await transport.send_bytes(_text(step))
            if step.cut:
                raise BrokenOffError


asgi_app = NemoAuth(_asgi, Settings.load())
rsgi_app = NemoAuth(_Rsgi(), Settings.load())
