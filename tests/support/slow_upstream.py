"""An upstream that answers late."""

import asyncio

import msgspec


async def slow_upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request after a while, with usage of 5 + 2 tokens."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    body = msgspec.json.encode(
        {"id": "x", "object": "chat.completion", "choices": [], "usage": usage}
    )
    lines = ("HTTP/1.1 200 OK", "content-type: application/json", f"content-length: {len(body)}")
    head = "\r\n".join((*lines, "", "")).encode()
    try:
        while True:
            asked = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(asked.partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            await asyncio.sleep(0.03)
            writer.write(head + body)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
