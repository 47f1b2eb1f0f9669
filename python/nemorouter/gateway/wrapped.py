"""A wrapped ASGI app in the place of an upstream: it answers the client itself, watched for usage
and for the end.

The app's own status, headers and body stay; ours are added, and the client's credential is taken
away.
"""

from nemorouter._core import Call
from nemorouter.gateway.asgi import AsgiApp, AsgiRequest, Message, Receive, Send
from nemorouter.gateway.observe import Caller, Observed
from nemorouter.gateway.peek import NO_MODEL
from nemorouter.gateway.settle import answer_headers, recorded
from nemorouter.gateway.wire import ClientGoneError, Connection, Scope
from nemorouter.types import Outcome


class Wrapped:
    """Lets a wrapped app answer admitted calls."""

    def __init__(self, *, ietf_headers: bool = False, durable: bool = False) -> None:
        self._ietf = ietf_headers
        self._durable = durable

    async def __call__(
        self, app: AsgiApp, call: Call, request: Scope, connection: Connection
    ) -> None:
        """Run the app and settle the call."""
        assert isinstance(connection, AsgiRequest)  # noqa: S101 - NemoAuth passes nothing else
        scope, receive, send = connection.raw
        headers = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
        state = {**scope.get("state", {}), "nemorouter": Caller(call)}
        answering = _Answering(call, receive, send, ietf=self._ietf, durable=self._durable)
        try:
            await app(
                {**scope, "headers": headers, "state": state}, answering.receive, answering.send
            )
        finally:
            answering.tell()
        answering.finish()


class _Answering:
    """The app's ``receive`` and ``send``."""

    def __init__(
        self, call: Call, receive: Receive, send: Send, *, ietf: bool, durable: bool
    ) -> None:
        self._call = call
        self._receive = receive
        self._send = send
        self._ietf = ietf
        self._durable = durable
        self._replayed = call.peek is NO_MODEL  # then nobody has read the body
        self._start: Message | None = None
        self._observed: Observed | None = None
        self._gone = False

    async def receive(self) -> Message:
        """The body that was read already, then what the client tells; notes when it left too early."""
        if not self._replayed:
            self._replayed = True
            return {"type": "http.request", "body": self._call.body, "more_body": False}
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._call.ended:
            self._gone = True
        return message

    async def send(self, message: Message) -> None:
        """The head waits for the first piece of the body, so that a whole answer can tell its cost."""
        if message["type"] == "http.response.start":
            self._start = message
            kind = next(
                (
                    value
                    for name, value in message.get("headers", [])
                    if name.lower() == b"content-type"
                ),
                b"",
            )
            self._observed = Observed(self._call, message["status"], kind.decode("latin-1"))
        elif message["type"] == "http.response.body" and self._observed is not None:
            await self._body(
                self._observed, message.get("body", b""), more=message.get("more_body", False)
            )
        else:
            await self._begin()
            await self._pass(message)

    async def _body(self, observed: Observed, body: bytes, *, more: bool) -> None:
        if self._start is not None and not more:
            observed.whole(body)
            await self._begin()
        else:
            if self._start is not None:
                await self._begin()
            body = observed.piece(body) if body else body
            if not more:
                body += observed.last()
        await self._pass({"type": "http.response.body", "body": body, "more_body": more})

    async def _begin(self) -> None:
        """Send the head, with our headers."""
        start, self._start = self._start, None
        if start is not None:
            self._call.status = start["status"]
            ours = [
                (n.encode(), v.encode()) for n, v in answer_headers(self._call, [], ietf=self._ietf)
            ]
            await self._pass({**start, "headers": [*start.get("headers", []), *ours]})

    async def _pass(self, message: Message) -> None:
        if self._durable and self._call.ended:
            await recorded(self._call)
        try:
            await self._send(message)
        except Exception as error:
            raise ClientGoneError from error

    def tell(self) -> None:
        """The app returned or failed: its call gets to know what the stream showed."""
        if self._observed is not None:
            self._observed.tell()

    def finish(self) -> None:
        """The app returned; if its answer is not whole, somebody broke it off."""
        if self._call.ended:
            return
        if self._gone:
            raise ClientGoneError
        self._call.end(Outcome.UPSTREAM_ERROR, self._call.status)
