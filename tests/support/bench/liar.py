"""Serve one answer to everything, as fast as possible, which must deceive no benchmark."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BODY = b'{"id":"chatcmpl-0","object":"chat.completion","choices":[]}'


@contextmanager
def lying(
    status: int = 200, *, stall_at: int = -1, stall_s: float = 0.0, mute_after: int = 1 << 60
) -> Iterator[int]:
    """Start such a server and yield its port.

    It pauses for ``stall_s`` before one answer, and sends nothing more after ``mute_after``.
    """
    answer = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(BODY), BODY)
    answered = 0
    turn = threading.Lock()  # one request at a time, so that a stall holds up everybody

    def serve(client: socket.socket) -> None:
        nonlocal answered
        with client, suppress(OSError):
            data = b""
            while part := client.recv(1 << 16):
                data += part
                head, end, body = data.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0] or 0)
                if not end or len(body) < length:
                    continue
                data = body[length:]
                with turn:
                    if answered == stall_at:
                        time.sleep(stall_s)
                    answered += 1
                    if answered <= mute_after:
                        client.sendall(answer)

    def listen() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
