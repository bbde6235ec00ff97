"""The router dies between two steps: nothing is lost, and only what a crash must double is doubled."""

from __future__ import annotations

import threading

import pytest

from router.application.drafts import WAIT
from router.application.record import MAX_UNRECORDED
from tests.faults.conftest import MakeTrial
from tests.support.customer import OK
from tests.support.fault_checker import DISARMED, Trial
from tests.support.http_server import Exchange, late
from tests.support.router_process import wait_for

IN_FLIGHT = 16
"""Attempts in flight to one webhook, by default."""


async def die_and_start_again(trial: Trial, killpoint: str, *, events: int = 200) -> int:
    """Publish all the while; the kill point ends the router, and it is started again without. Returns how many
    requests the customer had that were not recorded."""
    trial.define_webhook()
    router = await trial.start_router(killpoint=killpoint)
    async with trial.stream(per_second=200):
        await router.ended(within_seconds=60)
        unrecorded = await trial.unrecorded()
        trial.heal()
        await router.start(**DISARMED)
        await trial.confirmed_count(events)
    assert unrecorded <= len(trial.webhooks) * IN_FLIGHT + MAX_UNRECORDED
    return unrecorded


@pytest.mark.quick
@pytest.mark.fault(25, "SIGKILL between receiving and inserting")
async def test_kill_before_the_insert_loses_nothing_and_doubles_nothing(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    assert await die_and_start_again(trial, "before_insert=kill") == 0
    await trial.check()


@pytest.mark.fault(26, "SIGKILL {place}")
@pytest.mark.parametrize(
    ("killpoint", "place"),
    [("before_ack=kill@3", "between insert and ack"), ("after_ack=kill@3", "after the ack of a batch")],
)
async def test_kill_around_the_ack_loses_nothing(make_trial: MakeTrial, killpoint: str, place: str) -> None:
    trial = await make_trial()
    # What the batches before had begun is as much in flight as any.
    unrecorded = await die_and_start_again(trial, killpoint)
    await trial.check(duplicates_allowed=unrecorded)


@pytest.mark.fault(27, "SIGKILL {place}")
@pytest.mark.parametrize(
    ("killpoint", "place"),
    [
        ("after_http=kill", "between HTTP 200 and its result"),
        ("between_inserts=kill", "between first results and their insert"),
        ("after_insert=kill", "after the insert of first results"),
        ("before_record=kill", "between the results of a batch and their record"),
        ("after_record=kill", "after the record of a batch"),
    ],
)
async def test_kill_around_the_record_doubles_only_what_was_in_flight(
    make_trial: MakeTrial, killpoint: str, place: str
) -> None:
    trial = await make_trial()
    if "record" in killpoint:
        # The delivery is inserted without its result then, which is recorded by itself.
        trial.customer.behave = lambda _: late(3 * WAIT.total_seconds())
    unrecorded = await die_and_start_again(trial, killpoint)
    await trial.check(duplicates_allowed=unrecorded)


@pytest.mark.fault(28, "SIGKILL in the middle of a batch: events inserted, deliveries not")
async def test_kill_between_the_inserts_of_a_batch_leaves_no_gap(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    trial.define_webhook()
    unrecorded = await die_and_start_again(trial, "between_inserts=kill@2")
    await trial.check(duplicates_allowed=unrecorded)


@pytest.mark.fault(28, "three SIGKILLs in three batches running")
async def test_kill_again_and_again_in_the_same_backlog_loses_nothing(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    router = await trial.start_router()
    await router.stop()
    await trial.publish(300)
    for killpoint in ("before_insert=kill", "between_inserts=kill", "before_ack=kill"):
        router.launch(WEBHOOK_ROUTER_KILLPOINT=killpoint)
        await router.ended(within_seconds=60)
    unrecorded = await trial.unrecorded()
    trial.heal()
    await router.start(**DISARMED)
    await trial.check(duplicates_allowed=unrecorded)


@pytest.mark.quick
@pytest.mark.fault(13, "a bug of ours: storing one event raises every time")
async def test_event_that_cannot_be_handled_is_parked_and_the_others_flow(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    poison = trial.make_event()
    router = await trial.start_router(killpoint=f"before_insert=raise:{poison['id']}")
    await trial.publish(20)
    await trial.platform.publish(poison)
    await trial.publish(20)
    await trial.check(dead_letters=1)
    assert '"batch_refused"' in router.log


@pytest.mark.fault(13, "a bug of ours: attempting one delivery raises every time")
async def test_delivery_that_cannot_be_attempted_ends_after_bounded_tries(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    poison = trial.make_event()
    await trial.start_router(killpoint=f"before_http=raise:{poison['id']}")
    await trial.publish(20)
    await trial.platform.publish(poison)
    trial.confirm(poison)
    await trial.publish(20)
    await trial.check(statuses={"failed": 1}, within_seconds=75)


@pytest.mark.fault(27, "SIGKILL with 16 attempts in flight and retries in memory")
async def test_what_was_pending_at_a_kill_goes_on_in_another_process(make_trial: MakeTrial) -> None:
    """A retry that was held in memory (`cdr`), one that rested in the store (`user`), attempts in flight (`call`)."""
    trial = await make_trial()
    dead = threading.Event()

    async def fail_or_hang_until_the_kill(exchange: Exchange) -> None:
        if dead.is_set():
            await exchange.send(OK)
        elif exchange.request.header("x-webhook-event") == "call":
            await exchange.client_gone()
        else:
            await exchange.send(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")

    trial.customer.behave = lambda _: fail_or_hang_until_the_kill
    for kind in ("call", "cdr", "user"):
        trial.define_webhook(kind)
    router = await trial.start_router(
        ROUTER_DELIVERY__CALL__MAX_AGE_SECONDS="none",
        ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS="[3, 60]",
        ROUTER_DELIVERY__USER__RETRY_DELAYS_SECONDS="[12, 60]",
    )
    retried = [*await trial.publish(1, "cdr"), *await trial.publish(1, "user")]
    for event in retried:
        await router.delivery(event_id=event["id"], is_so=lambda each: each["attempt_count"] == 1)
    await trial.publish(40, "call")
    await wait_for(lambda: len(trial.customer.requests) >= 2 + 12)
    await router.kill()
    dead.set()
    trial.heal()
    await router.start()
    await trial.check()  # none of those in flight was answered

    for event in retried:
        mine = [each for each in trial.customer.requests if each.header("webhook-id") == event["id"]]
        assert [each.header("x-webhook-attempt") for each in mine] == ["1", "2"]
        assert mine[0].body == mine[1].body


@pytest.mark.quick
@pytest.mark.fault(26, "SIGKILL, and the same events published again")
async def test_event_that_comes_again_after_a_kill_is_delivered_once(make_trial: MakeTrial) -> None:
    """A crash between storing and the ack brings the very message again; publishing it twice looks the same."""
    trial = await make_trial()
    trial.define_webhook()
    router = await trial.start_router()
    events = await trial.publish(20)
    await trial.settled()
    await router.kill()
    await trial.platform.publish(*events, *events)
    await trial.publish(20)
    trial.heal()
    await router.start()
    await trial.check()
