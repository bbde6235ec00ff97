"""Publishing what a well-behaved client cannot: the client library adds a message id, and refuses odd values.

Touches the broker at the URL that it is given.
"""

from __future__ import annotations

from typing import Any, Final

import aio_pika
from pamqp.commands import Basic

NO_PROPERTIES: Final = b"\x00\x00"


class RawProperties(Basic.Properties):
    """Properties that go out as the bytes given: the flags, then the values (AMQP 0-9-1, 2.3.5.2)."""

    def __init__(self, wire: bytes) -> None:
        # The client fills in a missing id; here it only fills in an attribute that is never written.
        super().__init__(message_id="never written")
        self._wire = wire

    def marshal(self) -> bytes:
        return self._wire


async def publish_raw(
    url: str, exchange: str, routing_key: str, body: bytes, properties: bytes = NO_PROPERTIES
) -> None:
    """Publish with exactly these properties; returns once the broker has confirmed it."""
    async with await aio_pika.connect(url) as connection:
        channel: Any = await connection.channel(publisher_confirms=True)
        underlay = await channel.get_underlay_channel()
        await underlay.basic_publish(
            body, exchange=exchange, routing_key=routing_key, properties=RawProperties(properties)
        )
