"""How often a message came back, as each version of the broker says it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from router.adapters.rabbitmq.messages import raw_message, times_returned

NOW = datetime(2031, 1, 1, 12, tzinfo=UTC)


def message(headers: dict[str, Any] | None, *, redelivered: bool = True) -> DeliveredMessage:
    deliver = Basic.Deliver("ctag", 1, redelivered, "call", "call.received")
    header = ContentHeader(properties=Basic.Properties(headers=headers))
    channel: Any = None
    return DeliveredMessage(delivery=deliver, header=header, body=b"{}", channel=channel)


@pytest.mark.parametrize(
    ("headers", "redelivered", "times"),
    [
        (None, True, 0),  # a classic queue
        ({"x-delivery-count": 0}, False, 0),  # 3.10, the first time
        ({"x-delivery-count": 3}, True, 3),
        ({"x-delivery-count": 3, "x-acquired-count": 9}, True, 9),  # 4.3: returns that were no failure count too
        ({"x-acquired-count": 9}, True, 9),
        ({"x-acquired-count": 9, "x-delivery-count": 9}, False, 0),  # the publisher's own
        ({"x-delivery-count": "many"}, True, 0),
    ],
)
def test_returns_are_counted_by_what_the_queue_says(
    headers: dict[str, Any] | None, redelivered: bool, times: int
) -> None:
    assert times_returned(message(headers, redelivered=redelivered)) == times


def test_what_the_queue_says_is_not_kept_with_the_message() -> None:
    raw = raw_message(message({"x-delivery-count": 3, "x-acquired-count": 4, "tenant": "t-1"}), "call", NOW)

    assert raw.properties.headers == {"tenant": "t-1"}
