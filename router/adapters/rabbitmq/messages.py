"""From a delivered AMQP message to our own form of it. Makes values; touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from aiormq.abc import DeliveredMessage

from router.ports import EXCHANGE_HEADER, ROUTING_KEY_HEADER, MessageProperties, RawMessage

_RETURN_COUNTS: Final = ("x-acquired-count", "x-delivery-count")
"""How often a quorum queue has handed a message out before. 4.3 counts returns that are no failure in the first
only; every other version has the second alone."""


def raw_message(message: DeliveredMessage, source: str, received_at: datetime) -> RawMessage:
    """The message without what the broker adds for itself."""
    properties = message.header.properties
    headers = {
        str(key): value
        for key, value in (properties.headers or {}).items()
        if isinstance(value, str | int | bool) and key not in _RETURN_COUNTS
    }
    exchange, routing_key = message.exchange or "", message.routing_key or ""
    if not exchange and EXCHANGE_HEADER in headers:
        exchange = str(headers.pop(EXCHANGE_HEADER))
        routing_key = str(headers.pop(ROUTING_KEY_HEADER, routing_key))
    return RawMessage(
        body=bytes(message.body),
        source=source,
        exchange=exchange,
        routing_key=routing_key,
        properties=MessageProperties(
            content_type=properties.content_type,
            content_encoding=properties.content_encoding,
            message_id=properties.message_id or None,
            type=properties.message_type or None,
            timestamp=_aware(properties.timestamp),
            headers=headers,
        ),
        received_at=received_at,
        redelivered=bool(message.redelivered),
    )


def times_returned(message: DeliveredMessage) -> int:
    """How often the message came back to its queue unsettled. 0 where the queue does not count.

    Only of a redelivered one: on the first delivery the header may be the publisher's own.
    """
    headers: Mapping[str, object] = message.header.properties.headers or {}
    counts = [headers[name] for name in _RETURN_COUNTS if name in headers]
    if not message.redelivered or not counts:
        return 0
    return counts[0] if isinstance(counts[0], int) else 0


def _aware(moment: datetime | None) -> datetime | None:
    """The property's time; a publisher that sends 0 has none."""
    if moment is not None and moment.year == 1970:
        return None
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
