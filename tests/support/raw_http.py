"""HTTP requests that no client library would write, to a server of a test. Touches a loopback socket."""

from __future__ import annotations

import asyncio

from yarl import URL

from tests.support.api import TOKEN, Answer


async def raw_request(
    base: URL, method: bytes, target: bytes, *headers: bytes, body: bytes = b"", token: str = TOKEN
) -> Answer:
    """Writes the request as it is given, with a length unless `headers` frame the body, and reads to the end."""
    assert base.host is not None
    framed = any(header.lower().startswith((b"transfer-encoding", b"content-length")) for header in headers)
    lines = [
        method + b" " + target + b" HTTP/1.1",
        b"Host: api.example",
        b"Connection: close",
        b"Authorization: Bearer " + token.encode(),
        *headers,
        *([] if framed else [b"Content-Length: %d" % len(body)]),
    ]
    reader, writer = await asyncio.open_connection(base.host, base.port)
    try:
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        async with asyncio.timeout(30):
            answer = await reader.read()
    finally:
        writer.close()
    head, _, content = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    return Answer(
        status=int(status.split(" ")[1]),
        headers={name: value for name, _, value in (field.partition(": ") for field in fields)},
        body=content,
    )
