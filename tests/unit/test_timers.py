"""Near retries that rest in memory."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime

from router.application.lanes import LaneLimits, Lanes
from router.application.timers import Timers
from router.domain.delivery import Claim, DeliveryId
from router.domain.event import AccountId, EventKey, EventType
from router.domain.webhook import WebhookId

CLAIM = Claim(
    delivery_id=DeliveryId("dlv_1"),
    event_key=EventKey("ev_1"),
    fence=1,
    account_id=AccountId("1042"),
    webhook_id=WebhookId("wh_1"),
    event_id="evt_1",
    event_type=EventType.CDR,
    received_at=datetime(2031, 1, 1, tzinfo=UTC),
    attempt_count=0,
    not_after=None,
    payload=b"{}",
)


def make() -> tuple[Lanes, Timers]:
    lanes = Lanes(LaneLimits(in_flight=10, in_flight_per_lane=10, queued_per_lane=10))
    return lanes, Timers(lanes)


async def test_a_claim_whose_time_has_come_is_offered_with_its_attempts_counted() -> None:
    lanes, timers = make()
    timers.add(CLAIM, attempt_count=3, at=time.monotonic() - 1)

    running = asyncio.create_task(timers.run())
    claim = await lanes.next()
    timers.stop()
    await running

    assert claim == replace(CLAIM, attempt_count=3)


async def test_claims_come_in_the_order_of_their_time() -> None:
    lanes, timers = make()
    now = time.monotonic()
    for number, at in ((1, now - 1), (2, now - 3), (3, now - 2)):
        timers.add(replace(CLAIM, delivery_id=DeliveryId(str(number))), attempt_count=1, at=at)

    running = asyncio.create_task(timers.run())
    order = [claim.delivery_id for _ in range(3) if (claim := await lanes.next())]
    timers.stop()
    await running

    assert order == ["2", "3", "1"]


async def test_a_resting_claim_is_held_and_waits() -> None:
    lanes, timers = make()
    timers.add(CLAIM, attempt_count=1, at=time.monotonic() + 3600)

    running = asyncio.create_task(timers.run())
    timers.stop()
    await running

    assert lanes.held == 1
    assert lanes.in_flight == 0
