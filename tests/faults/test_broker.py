"""RabbitMQ goes away, turns deaf, refuses or comes twice: the router finds back alone, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aio_pika
import psutil
import pytest
from aio_pika.exceptions import AMQPError

from router.adapters.embedded.broker import RabbitNode
from tests.faults.conftest import MakeTrial
from tests.support.amqp import publish_raw
from tests.support.breakable import apart
from tests.support.customer import OK
from tests.support.events import encode
from tests.support.fault_checker import DISARMED, Trial
from tests.support.fault_proxy import Direction, FaultProxy, Protocol
from tests.support.http_server import answer
from tests.support.router_process import RouterProcess, wait_for
from tests.support.servers import unique

QUORUM_QUEUE_SETTLES_SECONDS = 2
"""A younger queue does not survive a power cut: the broker writes down whose log is whose now and then."""
NOTICED_SECONDS = 30
"""Within which a dead connection is noticed: 20 s of silence, and what a busy machine adds."""
MEBIBYTE = 1024 * 1024
OTHER_ARGUMENTS: Any = {"x-queue-type": "quorum", "x-max-length": 1000}

POISON = [
    b"", b"{", b"[1, 2]", b"null", b'"text"', b"\xff\xfe{}", b'{"id": NaN}', b"[" * 10_000 + b"]" * 10_000,
    b'{"id": "x"}', b'{"account_id": {}}', b'{"account_id": "1", "type": "fax"}', b"{}" * 3, b"\x00" * 100,
    b'{"account_id": "1", "id": "\\ud800', b"<xml/>",
]  # fmt: skip


def before(trial: Trial) -> FaultProxy:
    return FaultProxy.before(trial.platform.amqp_url, protocol=Protocol.AMQP)


async def is_not_ready(router: RouterProcess) -> bool:
    return (await router.get("/readyz"))[0] == 503


async def is_live(router: RouterProcess) -> bool:
    return (await router.get("/livez"))[0] == 200


async def metric(router: RouterProcess, name: str) -> float:
    """The sum of a metric over its labels."""
    lines = str(await router.api("/metrics")).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((name + " ", name + "{")))


async def no_message_is_left(trial: Trial) -> None:
    """Wait until every queue of the trial is empty."""

    async def are_empty() -> bool:
        return not any([await trial.platform.messages_ready(kind) for kind in ("call", "cdr", "user")])

    await wait_for(are_empty)


# --- 1: killed -------------------------------------------------------------------------------------


@pytest.mark.fault(1, "broker killed (SIGKILL) in mid-stream, back after 10 s")
async def test_broker_that_is_killed_in_mid_stream_loses_nothing(make_trial: MakeTrial, own_broker: RabbitNode) -> None:
    trial = await make_trial(broker=own_broker)
    trial.define_webhook()
    router = await trial.start_router()
    await asyncio.sleep(QUORUM_QUEUE_SETTLES_SECONDS)
    async with trial.stream(per_second=200):
        await trial.confirmed_count(400)
        own_broker.kill()
        await wait_for(lambda: is_not_ready(router), within_seconds=15)
        assert await is_live(router)
        await asyncio.sleep(10)
        await apart(own_broker.start)
        trial.heal()
        await trial.until_ready(within_seconds=20)
        await trial.confirmed_count(len(trial.confirmed) + 200)
    await trial.check()
    await no_message_is_left(trial)


@pytest.mark.fault(1, "broker stopped in order in mid-stream, and started again")
async def test_broker_that_restarts_in_mid_stream_loses_nothing(make_trial: MakeTrial, own_broker: RabbitNode) -> None:
    trial = await make_trial(broker=own_broker)
    trial.define_webhook()
    router = await trial.start_router()
    async with trial.stream(per_second=100):
        await trial.confirmed_count(100)
        await apart(own_broker.stop)
        await wait_for(lambda: is_not_ready(router))
        checks = (await router.get("/readyz"))[1]["checks"]
        assert {check["ok"] for check in checks if check["name"].startswith("consumer:")} == {False}
        assert await is_live(router)
        await apart(own_broker.start)
        trial.heal()
        await trial.until_ready(within_seconds=20)
        await trial.confirmed_count(len(trial.confirmed) + 100)
    await trial.check()
    await no_message_is_left(trial)


@pytest.mark.fault(1, "router stopped while the broker is away, started after it is back")
async def test_router_that_is_stopped_while_the_broker_is_away_stops_clean(
    make_trial: MakeTrial, own_broker: RabbitNode
) -> None:
    trial = await make_trial(broker=own_broker)
    trial.define_webhook()
    router = await trial.start_router()
    await asyncio.sleep(QUORUM_QUEUE_SETTLES_SECONDS)
    await trial.publish(25)
    await trial.settled()
    own_broker.kill()
    await wait_for(lambda: is_not_ready(router))
    await router.stop()
    await apart(own_broker.start)
    trial.heal()
    await router.start()
    await trial.publish(25)
    await trial.check()


@pytest.mark.quick
@pytest.mark.fault(1, "every connection closed by the broker's operator")
async def test_connections_that_the_broker_closes_are_opened_again(
    make_trial: MakeTrial, own_broker: RabbitNode
) -> None:
    trial = await make_trial(broker=own_broker)
    trial.define_webhook()
    await trial.start_router()
    async with trial.stream(per_second=100):
        await trial.confirmed_count(50)
        await apart(own_broker.ctl, "close_all_connections", "maintenance")
        trial.heal()
        await trial.confirmed_count(len(trial.confirmed) + 50)
    await trial.check()


# --- 2, 3: acks ------------------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.fault(2, "ack lost on the way, connection reset; five times")
async def test_lost_ack_is_a_redelivery_that_stores_nothing_twice(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    async with before(trial) as proxy:
        await trial.start_router(ROUTER_AMQP__URL=proxy.url)
        async with trial.stream(per_second=100):
            await trial.confirmed_count(20)
            losses = proxy.lose_acks(5)
            await wait_for(lambda: losses.is_over)
            trial.heal()
            await trial.confirmed_count(len(trial.confirmed) + 50)
        await trial.check()
        await no_message_is_left(trial)


@pytest.mark.fault(3, "channel closed by the broker's consumer_timeout, the ack too late")
async def test_ack_that_comes_after_the_consumer_timeout_is_counted_and_harmless(
    make_trial: MakeTrial, own_broker: RabbitNode
) -> None:
    setting = "application:set_env(rabbit, {}, {})."
    trial = await make_trial(broker=own_broker)
    trial.define_webhook()
    await apart(own_broker.ctl, "eval", setting.format("consumer_timeout", 2_000))
    await apart(own_broker.ctl, "eval", setting.format("channel_tick_interval", 1_000))
    try:
        router = await trial.start_router(killpoint="before_ack=delay:8@2")
        await trial.publish(10)
        await asyncio.sleep(1)
        await trial.publish(10)
        await wait_for(lambda: '"consumer_lost"' in router.log)
        trial.heal()
        await trial.publish(10)
        await trial.settled()

        async def is_counted() -> bool:
            return await metric(router, "webhook_router_acks_lost_total") >= 1

        await wait_for(is_counted)  # the ack waits longer than what comes again
        await trial.until_ready()
        await trial.check()
        await no_message_is_left(trial)
    finally:
        await apart(own_broker.ctl, "eval", setting.format("consumer_timeout", 1_800_000))
        await apart(own_broker.ctl, "eval", setting.format("channel_tick_interval", 60_000))


# --- 4: cancelled ----------------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.parametrize("event_type", ["call", "cdr", "user"])
@pytest.mark.fault(4, "queue of `{event_type}` deleted under its consumer")
async def test_consumer_whose_queue_is_deleted_declares_it_and_consumes_again(
    make_trial: MakeTrial, event_type: str
) -> None:
    trial = await make_trial()
    trial.define_webhook(event_type)
    router = await trial.start_router()
    await trial.publish(5, event_type)
    await trial.settled()
    await trial.platform.drop_queue(event_type)

    async def is_declared_again() -> bool:
        try:
            await trial.platform.messages_ready(event_type)
        except AMQPError:
            return False
        return True

    trial.heal()
    await wait_for(is_declared_again, within_seconds=10)
    await trial.until_ready(router)
    await trial.publish(20, event_type)
    await trial.check()


# --- 5, 6: blocked ---------------------------------------------------------------------------------


@pytest.mark.fault(5, "{alarm} alarm for 25 s: the broker takes nothing from publishers")
@pytest.mark.parametrize(
    ("alarm", "on", "off"),
    [
        ("memory", ("set_vm_memory_high_watermark", "0.00001"), ("set_vm_memory_high_watermark", "0.4")),
        ("disk", ("set_disk_free_limit", "2000GB"), ("set_disk_free_limit", "50MB")),
    ],
)
async def test_alarm_of_the_broker_does_not_stop_consuming(
    make_trial: MakeTrial, own_broker: RabbitNode, alarm: str, on: tuple[str, str], off: tuple[str, str]
) -> None:
    trial = await make_trial(broker=own_broker)
    trial.define_webhook()
    router = await trial.start_router()
    await router.stop()
    await trial.publish(300)
    await apart(own_broker.ctl, *on)
    try:
        await router.start()
        async with trial.stream(per_second=20):
            await trial.accepted_count(300)
            await asyncio.sleep(25)
            assert len(trial.confirmed) == 300, f"the {alarm} alarm did not stop publishers"
            assert await router.is_ready()
            await apart(own_broker.ctl, *off)
            trial.heal()
            await trial.confirmed_count(320)
    finally:
        await apart(own_broker.ctl, *off)
    await trial.check()


# --- 7, 8: refused ---------------------------------------------------------------------------------


@pytest.mark.fault(7, "queue replaced by one with other arguments while the router is cut off, then put right")
async def test_queue_with_other_arguments_is_named_and_taken_up_once_it_is_put_right(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    queue = trial.platform.queue("cdr")
    async with (
        before(trial) as proxy,
        await aio_pika.connect(trial.platform.amqp_url) as connection,
    ):
        router = await trial.start_router(ROUTER_AMQP__URL=proxy.url)
        await trial.publish(10)
        await trial.settled()
        await proxy.refuse()
        proxy.reset()
        channel = await connection.channel()
        await channel.queue_delete(queue)
        await channel.declare_queue(queue, durable=True, arguments=OTHER_ARGUMENTS)
        await proxy.accept()
        await wait_for(lambda: "x-max-length" in router.log)
        assert await is_live(router)
        assert await is_not_ready(router)
        tries = router.log.count('"consumer_unavailable"')
        await asyncio.sleep(3)
        assert router.log.count('"consumer_unavailable"') - tries <= 20, "it does not back off"
        await channel.queue_delete(queue)
        trial.heal()
        await trial.until_ready(router)
        await trial.publish(10)
        await trial.check()


@pytest.mark.quick
@pytest.mark.fault(7, "queue with other arguments at the start: exit 78, put right, started again")
async def test_queue_with_other_arguments_at_the_start_ends_it_with_its_name(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    queue = trial.platform.queue("cdr")
    async with await aio_pika.connect(trial.platform.amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True, arguments=OTHER_ARGUMENTS)
        router = trial.add_router()
        router.launch()
        assert await router.ended(within_seconds=40) == 78
        assert all(word in router.last_words for word in (queue, "x-max-length", "1000"))
        await channel.queue_delete(queue)
    trial.heal()
    await router.start()
    await trial.until_ready(router)
    await trial.publish(10)
    await trial.check()


@pytest.mark.fault(8, "password changed, connections closed, password put back")
async def test_changed_password_is_waited_for_at_run_time_and_refused_at_the_start(
    make_trial: MakeTrial, own_broker: RabbitNode
) -> None:
    user, password = unique("router-"), unique("pw-")
    trial = await make_trial(broker=own_broker)
    trial.platform.private.add(password)
    await apart(own_broker.ctl, "add_user", user, password)
    await apart(own_broker.ctl, "set_permissions", user, ".*", ".*", ".*")
    trial.define_webhook()
    router = await trial.start_router(ROUTER_AMQP__URL=own_broker.url.replace("guest:guest", f"{user}:{password}"))
    async with trial.stream(per_second=20):
        await trial.confirmed_count(20)
        await apart(own_broker.ctl, "change_password", user, "another")
        await apart(own_broker.ctl, "close_all_connections", "rotation")
        await wait_for(lambda: is_not_ready(router))
        await wait_for(lambda: "refuses the user or password" in router.log)
        assert await is_live(router)
        await router.stop()
        router.launch()
        assert await router.ended(within_seconds=40) == 78
        await apart(own_broker.ctl, "change_password", user, password)
        trial.heal()
        await router.start()
        await trial.until_ready(router)
    await trial.check()


@pytest.mark.fault(8, "permissions taken away at run time, connections closed, given back")
async def test_permissions_that_are_gone_are_waited_for(make_trial: MakeTrial, own_broker: RabbitNode) -> None:
    user = unique("router-")
    trial = await make_trial(broker=own_broker)
    await apart(own_broker.ctl, "add_user", user, "pw")
    await apart(own_broker.ctl, "set_permissions", user, ".*", ".*", ".*")
    trial.define_webhook()
    router = await trial.start_router(ROUTER_AMQP__URL=own_broker.url.replace("guest:guest", f"{user}:pw"))
    async with trial.stream(per_second=20):
        await trial.confirmed_count(20)
        await apart(own_broker.ctl, "clear_permissions", user)
        await apart(own_broker.ctl, "close_all_connections", "audit")
        await wait_for(lambda: is_not_ready(router))
        assert await is_live(router)
        await asyncio.sleep(2)
        await apart(own_broker.ctl, "set_permissions", user, ".*", ".*", ".*")
        trial.heal()
        await trial.until_ready(router, within_seconds=20)
    await trial.check()


# --- 9: dead connections ---------------------------------------------------------------------------


@pytest.mark.fault(9, "half-open connections to the broker: dead, and nobody is told")
async def test_half_open_connections_are_noticed_and_replaced(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    async with before(trial) as proxy:
        router = await trial.start_router(ROUTER_AMQP__URL=proxy.url)
        async with trial.stream(per_second=50):
            await trial.confirmed_count(100)
            trial.heal()
            proxy.half_open()
            await wait_for(lambda: router.log.count('"consumer_lost"') >= 3, within_seconds=NOTICED_SECONDS)
            await trial.until_ready(router)
        await trial.check(duplicates_allowed=0)


@pytest.mark.fault(9, "network to the broker black-holed until it is noticed")
async def test_black_hole_to_the_broker_is_seen_by_readiness_and_left_alone(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    async with before(trial) as proxy:
        router = await trial.start_router(ROUTER_AMQP__URL=proxy.url)
        async with trial.stream(per_second=50):
            await trial.confirmed_count(100)
            proxy.black_hole()
            await wait_for(lambda: is_not_ready(router), within_seconds=NOTICED_SECONDS)
            assert await is_live(router)
            proxy.heal()
            trial.heal()
            await trial.until_ready(router, within_seconds=20)
        await trial.check()


@pytest.mark.fault(9, "deaf consumers: heartbeats come, messages do not")
async def test_consumer_that_hears_nothing_any_more_is_replaced(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    async with before(trial) as proxy:
        router = await trial.start_router(ROUTER_AMQP__URL=proxy.url)
        proxy.keep_messages_back()
        trial.heal()
        await trial.publish(200)
        await wait_for(lambda: '"consumer_deaf"' in router.log, within_seconds=NOTICED_SECONDS)
        await trial.check(within_seconds=60)


@pytest.mark.quick
@pytest.mark.fault(9, "connections to the broker reset, and refused for 3 s")
async def test_reset_and_refused_connections_are_opened_again(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    async with before(trial) as proxy:
        router = await trial.start_router(ROUTER_AMQP__URL=proxy.url)
        async with trial.stream(per_second=50):
            await trial.confirmed_count(50)
            await proxy.refuse()
            proxy.reset()
            await wait_for(lambda: is_not_ready(router))
            await asyncio.sleep(3)
            await proxy.accept()
            trial.heal()
            await trial.until_ready(router, within_seconds=20)
        await trial.check()


@pytest.mark.fault(9, "slow and dripping network to the broker: 100 ms, 20 kB/s, then cut in a frame")
async def test_slow_network_and_a_frame_that_is_cut_lose_nothing(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    async with before(trial) as proxy:
        router = await trial.start_router(ROUTER_AMQP__URL=proxy.url)
        async with trial.stream(per_second=20):
            proxy.delay(0.1)
            proxy.throttle(20_000)
            await trial.confirmed_count(60)
            proxy.cut_after(5_000, Direction.DOWN)
            await wait_for(lambda: '"consumer_lost"' in router.log)
            proxy.heal()
            trial.heal()
            await trial.confirmed_count(len(trial.confirmed) + 20)
        await trial.check()


# --- 10, 15: twice ---------------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.fault(10, "confirm of a requeued dead letter lost, requeued again")
async def test_dead_letter_whose_confirm_is_lost_is_requeued_again_and_delivered_once(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    event = trial.make_event()
    async with before(trial) as proxy:
        router = await trial.start_router(
            killpoint=f"before_insert=raise:{event['id']}@1",
            ROUTER_AMQP__URL=proxy.url,
        )
        await trial.platform.publish(event)
        trial.confirm(event)
        letter: Any = await wait_for(lambda: trial.platform.database.dead_letters.find_one({}))
        losses = proxy.lose_confirms()
        assert await router.post(f"/v1/dead-letters/{letter['_id']}/requeue") == 503
        assert losses.count == 1
        trial.heal()
        assert await router.post(f"/v1/dead-letters/{letter['_id']}/requeue") in {200, 202}
        await trial.check(dead_letters=1)
        await no_message_is_left(trial)


@pytest.mark.quick
@pytest.mark.fault(15, "connection lost during first attempts: another worker is given the messages")
async def test_message_that_comes_again_during_its_first_attempt_is_not_sent_again(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    async with before(trial) as proxy:
        first = await trial.start_router(killpoint="between_inserts=delay:4@1", ROUTER_AMQP__URL=proxy.url)
        await trial.publish(10)
        await wait_for(lambda: trial.customer.requests)
        # What it has sent it has neither stored nor acknowledged, and cannot now.
        await proxy.refuse()
        proxy.reset()
        await trial.start_router()
        await trial.accepted_count(10)
        await first.stop()
    await trial.check()
    await no_message_is_left(trial)


@pytest.mark.quick
@pytest.mark.fault(15, "every event published three times, a third of them without confirm")
async def test_event_that_is_published_again_is_delivered_once(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    await trial.start_router()
    events = await trial.publish(50)
    await asyncio.gather(trial.platform.publish(*events), trial.platform.publish(*events))
    without_id = {"account_id": trial.account, "type": "cdr"}
    async with before(trial) as proxy:
        proxy.lose_confirms()
        async with await aio_pika.connect(proxy.url) as connection:
            channel = await connection.channel(publisher_confirms=True)
            exchange = await channel.get_exchange(trial.platform.exchange("cdr"), ensure=False)
            with pytest.raises((AMQPError, OSError)):
                await exchange.publish(aio_pika.Message(encode(events[0])), "cdr.created")
    # Without any id, the bytes are the identity.
    for _ in range(2):
        await publish_raw(trial.platform.amqp_url, trial.platform.exchange("cdr"), "cdr.created", encode(without_id))
    trial.confirm(without_id)
    await trial.check()


@pytest.mark.quick
@pytest.mark.fault(15, "one event 20 times in one batch, each time with other bytes")
async def test_duplicates_in_one_batch_are_one_delivery_with_one_body(make_trial: MakeTrial) -> None:
    """The same id with other bytes is the same event: the first bytes count, on every attempt."""
    trial = await make_trial()
    replies = [answer(503), answer(503)]
    trial.customer.behave = lambda _: replies.pop() if replies else OK
    trial.define_webhook()
    await trial.start_router()
    event = trial.make_event()
    trial.confirm(event)
    async with await aio_pika.connect(trial.platform.amqp_url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        exchange = await channel.get_exchange(trial.platform.exchange("cdr"), ensure=False)
        for number in range(20):
            variant = event if number == 0 else {**event, "version": str(number)}
            await exchange.publish(aio_pika.Message(encode(variant)), "cdr.created")
    await trial.check()
    assert {request.body for request in trial.customer.requests} == {encode(event)}
    assert len(trial.customer.requests) == 3


# --- 12, 14, 16: messages that hurt ----------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.fault(12, "15 kinds of poison among good events")
async def test_poison_is_parked_at_once_and_holds_nobody_up(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    router = await trial.start_router()
    for body in POISON:
        await asyncio.gather(trial.platform.publish(body), trial.publish(5))
    await trial.check(dead_letters=len(POISON))
    await no_message_is_left(trial)
    assert router.log.count('"dead_letter"') == len(POISON), "one of them came again"


@pytest.mark.fault(14, "20 messages of 15 MiB, above the limit of 1 MiB")
async def test_oversized_messages_are_parked_within_bounded_memory(make_trial: MakeTrial) -> None:
    trial = await make_trial(source_settings={"prefetch": 1})
    trial.define_webhook()
    router = await trial.start_router()
    process, peak = psutil.Process(router.pid), 0
    before = process.memory_info().rss
    for _ in range(20):
        await trial.platform.publish(b'{"account_id": "1", "data": "' + b"x" * (15 * MEBIBYTE) + b'"}')
        peak = max(peak, process.memory_info().rss)
    await trial.publish(20)

    def are_parked() -> bool:
        nonlocal peak
        peak = max(peak, process.memory_info().rss)
        return int(trial.platform.database.dead_letters.count_documents({})) == 20

    await wait_for(are_parked)
    trial.heal()
    await trial.check(dead_letters=20)
    # A message is held several times over (frames, message, document, wire), however many there are.
    assert peak - before < 100 * MEBIBYTE < 20 * 15 * MEBIBYTE, f"{(peak - before) / MEBIBYTE:.0f} MiB more"


@pytest.mark.fault(16, "delivery limit of 2 reached by three SIGKILLs, set aside by the broker, put back")
async def test_message_over_the_delivery_limit_is_set_aside_and_can_be_put_back(
    make_trial: MakeTrial, own_broker: RabbitNode
) -> None:
    trial = await make_trial(broker=own_broker)
    trial.define_webhook()
    router = await trial.start_router()
    await router.stop()
    aside, queue = trial.platform.prefix + "returned", trial.platform.queue("cdr")
    async with await aio_pika.connect(own_broker.url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(aside, aio_pika.ExchangeType.FANOUT, durable=True)
        arguments: Any = {"x-queue-type": "quorum"}
        returned = await channel.declare_queue(aside, durable=True, arguments=arguments)
        await returned.bind(exchange)
        policy = {
            "delivery-limit": 2, "dead-letter-exchange": aside, "dead-letter-strategy": "at-least-once",
            "overflow": "reject-publish",
        }  # fmt: skip
        pattern = "^" + queue.replace(".", r"\.") + "$"
        await apart(own_broker.ctl, "set_policy", "--apply-to", "queues", aside, pattern, json.dumps(policy))
        await trial.publish(20)
        for _ in range(3):
            router.launch(WEBHOOK_ROUTER_KILLPOINT="before_insert=kill")
            await router.ended(within_seconds=60)

        async def are_set_aside() -> bool:
            found = await channel.declare_queue(aside, passive=True)
            return found.declaration_result.message_count == 20

        await wait_for(are_set_aside)
        trial.heal()
        await router.start(**DISARMED)
        for _ in range(20):
            message = await returned.get()
            assert message.headers["x-first-death-reason"] == "delivery_limit"
            again = aio_pika.Message(message.body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(again, queue)
            await message.ack()
        await trial.check()
