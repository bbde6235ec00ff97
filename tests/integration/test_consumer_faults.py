"""Consuming while the broker falls silent, forgets the consumer, or refuses what it allowed: on a real RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import aio_pika
import pytest
from structlog.testing import capture_logs
from yarl import URL

from router.adapters.embedded.broker import RabbitNode
from router.adapters.rabbitmq import subscription
from router.adapters.rabbitmq.subscription import MAX_RETURNS
from router.domain.event import Event, Rejection, RejectionReason
from tests.support import eventually
from tests.support.consuming import CDR, body, consuming, ids, own, publish, publisher, running
from tests.support.fault_proxy import FaultProxy, Protocol
from tests.support.servers import unique

PULSE_SECONDS = 0.3


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """A broker that we may administer."""
    node = RabbitNode(directory=tmp_path_factory.mktemp("consumer-node"))
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture(autouse=True)
def _quick_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "PULSE_SECONDS", PULSE_SECONDS)
    monkeypatch.setattr(subscription, "PULSE_TIMEOUT_SECONDS", 3.0)


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


def told(log: list[Any], event: str) -> list[dict[str, Any]]:
    return [line for line in log if line["event"] == event]


class Tenant:
    """A user with a virtual host of its own, which the test may take away."""

    def __init__(self, node: RabbitNode) -> None:
        self.node = node
        self.name = unique("tenant-")
        node.ctl("add_user", self.name, "right")
        self.add_vhost()

    def add_vhost(self) -> None:
        self.node.ctl("add_vhost", self.name)
        for user in (self.name, "guest"):
            self.node.ctl("set_permissions", "--vhost", self.name, user, ".*", ".*", ".*")

    @property
    def url(self) -> str:
        return str(URL(self.node.url).with_user(self.name).with_password("right").with_path("/" + self.name))

    @property
    def owner_url(self) -> str:
        return self.node.url + self.name


@pytest.fixture
def tenant(node: RabbitNode) -> Tenant:
    return Tenant(node)


def before(node: RabbitNode) -> FaultProxy:
    return FaultProxy.before(node.url, protocol=Protocol.AMQP)


async def test_a_connection_that_falls_silent_is_lost_and_made_anew(
    node: RabbitNode, names: str, log: list[Any]
) -> None:
    source = own(CDR, names)
    async with before(node) as proxy, consuming(proxy.url, source) as consumer:
        proxy.black_hole()
        await eventually(lambda: consumer.source.status() == {"cdr": False})
        await eventually(lambda: bool(told(log, "consumer_lost")))
        assert told(log, "consumer_lost")[0]["reason"] == "no_answer"

        await publish(node.url, source, body(1))
        proxy.heal()
        assert ids(await consumer.take(1)) == ["evt_1"]
        await eventually(lambda: consumer.source.status() == {"cdr": True})


async def test_a_broker_that_answers_nothing_at_the_beginning_is_tried_again(node: RabbitNode, names: str) -> None:
    async with before(node) as proxy:
        proxy.black_hole()
        async with running(proxy.url, own(CDR, names)) as consumer:
            await eventually(lambda: "cannot be reached" in consumer.source.problems()["cdr"])
            proxy.heal()
            await consumer.source.wait_until_consuming()


async def test_a_stop_while_the_connection_is_silent_does_not_hang(node: RabbitNode, names: str) -> None:
    async with before(node) as proxy, asyncio.timeout(60), consuming(proxy.url, own(CDR, names)):
        proxy.black_hole()


async def test_a_consumer_that_the_queue_forgot_is_deaf_and_begins_again(
    node: RabbitNode, names: str, log: list[Any]
) -> None:
    source = own(CDR, names)
    async with consuming(node.url, source) as consumer:
        lost = consumer.connection
        # As a queue that moved and lost its consumers: the channel is told nothing.
        await asyncio.to_thread(
            node.ctl,
            "eval",
            f'{{ok, Q}} = rabbit_amqqueue:lookup({{resource, <<"/">>, queue, <<"{source.queue}">>}}), '
            "[ra:process_command(amqqueue:get_pid(Q), rabbit_fifo:make_checkout({element(2, C), element(1, C)}, "
            "cancel, #{})) || C <- rabbit_amqqueue:consumers(Q)].",
        )
        await consumer.until_consuming_on_another(lost)
        await publish(node.url, source, body(1))

        assert ids(await consumer.take(1)) == ["evt_1"]
    assert len(told(log, "consumer_deaf")) == 1


async def test_a_consumer_of_a_queue_that_was_replaced_at_once_begins_again_after_a_silence(
    node: RabbitNode, names: str, log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker counts the messages of the new queue as delivered to the consumer of the old one, and tells nobody."""
    monkeypatch.setattr(subscription, "SILENCE_SECONDS", 3.0)
    source = own(CDR, names)
    async with consuming(node.url, source) as consumer:
        lost = consumer.connection
        async with publisher(node.url) as channel:
            await channel.queue_delete(source.queue)
            again = await channel.declare_queue(source.queue, durable=True, arguments={"x-queue-type": "quorum"})
            await again.bind(source.exchange, "#")
        await publish(node.url, source, body(1))

        await consumer.until_consuming_on_another(lost)

        assert ids(await consumer.take(1)) == ["evt_1"]
        assert consumer.source.status() == {source.name: True}
    assert not told(log, "consumer_deaf")


async def test_a_consumer_whose_messages_vanish_on_the_way_is_deaf_though_the_broker_answers(
    node: RabbitNode, names: str, log: list[Any]
) -> None:
    source = own(CDR, names, prefetch=2)
    async with before(node) as proxy, consuming(proxy.url, source) as consumer:
        lost = consumer.connection
        proxy.keep_messages_back()
        # Two are under way for ever; the third is ready, and we have room.
        await publish(node.url, source, *(body(number) for number in range(3)))
        await eventually(lambda: bool(told(log, "consumer_deaf")))
        proxy.heal()
        await consumer.until_consuming_on_another(lost)

        taken = await consumer.take(2)
        await consumer.source.settle(taken)
        assert sorted(ids(taken + await consumer.take(1))) == ["evt_0", "evt_1", "evt_2"]


async def test_a_consumer_that_holds_its_whole_prefetch_is_not_deaf(
    node: RabbitNode, names: str, log: list[Any]
) -> None:
    source = own(CDR, names, prefetch=2)
    async with consuming(node.url, source) as consumer:
        connection = consumer.connection
        await publish(node.url, source, *(body(number) for number in range(5)))
        await consumer.until_waiting(2)
        await asyncio.sleep(8 * PULSE_SECONDS)

        assert consumer.connection is connection
        assert consumer.source.status() == {"cdr": True}
    assert told(log, "consumer_deaf") == []


async def test_a_password_that_is_changed_meanwhile_is_told_and_waited_for(
    tenant: Tenant, names: str, log: list[Any]
) -> None:
    ctl = tenant.node.ctl
    source = own(CDR, names)
    async with consuming(tenant.url, source) as consumer:
        await asyncio.to_thread(ctl, "change_password", tenant.name, "another")
        await asyncio.to_thread(ctl, "close_all_connections", "--vhost", tenant.name, "maintenance")
        await eventually(lambda: "password" in consumer.source.problems().get("cdr", ""))
        assert consumer.source.status() == {"cdr": False}

        await asyncio.to_thread(ctl, "change_password", tenant.name, "right")
        await eventually(lambda: consumer.source.status() == {"cdr": True})
        await publish(tenant.owner_url, source, body(1))
        assert ids(await consumer.take(1)) == ["evt_1"]

    assert "refuses the user or password" in told(log, "consumer_unavailable")[-1]["error"]
    assert not any("right" in str(line.get("error")) for line in log)


async def test_a_virtual_host_that_is_deleted_is_told_and_waited_for(
    tenant: Tenant, names: str, log: list[Any]
) -> None:
    async with consuming(tenant.url, own(CDR, names)) as consumer:
        await asyncio.to_thread(tenant.node.ctl, "delete_vhost", tenant.name)
        await eventually(lambda: any("virtual host" in line["error"] for line in told(log, "consumer_unavailable")))
        assert consumer.source.status() == {"cdr": False}

        await asyncio.to_thread(tenant.add_vhost)
        await eventually(lambda: consumer.source.status() == {"cdr": True})


async def test_a_virtual_host_that_is_down_is_not_taken_for_a_refused_one(tenant: Tenant, names: str) -> None:
    await asyncio.to_thread(
        tenant.node.ctl, "eval", f'rabbit_vhost_sup_sup:stop_and_delete_vhost(<<"{tenant.name}">>).'
    )
    async with running(tenant.url, own(CDR, names)) as consumer:
        await eventually(lambda: "virtual host in amqp.url is down" in consumer.source.problems()["cdr"])

        await asyncio.to_thread(tenant.node.ctl, "restart_vhost", "--vhost", tenant.name)
        # A refusal would have raised here.
        await consumer.source.wait_until_consuming()


async def test_a_queue_that_somebody_made_otherwise_meanwhile_is_told_and_waited_for(
    node: RabbitNode, names: str, log: list[Any]
) -> None:
    source = own(CDR, names)
    async with consuming(node.url, source) as consumer, publisher(node.url) as channel:
        while source.queue not in str(told(log, "consumer_unavailable")):
            # The consumer may be quicker than we are, and make its own again.
            await channel.queue_delete(source.queue)
            try:
                await channel.declare_queue(source.queue, durable=True, arguments={"x-queue-type": "classic"})
            except aio_pika.exceptions.ChannelPreconditionFailed:
                await channel.reopen()
            else:
                await eventually(lambda: source.queue in str(told(log, "consumer_unavailable")))
        assert "x-queue-type is classic on the broker" in told(log, "consumer_unavailable")[-1]["error"]
        assert consumer.source.status() == {"cdr": False}

        await channel.queue_delete(source.queue)
        await eventually(lambda: consumer.source.status() == {"cdr": True})


async def test_at_the_end_of_a_start_it_is_told_which_queue_does_not_answer(node: RabbitNode, names: str) -> None:
    good, bad = own(CDR, names), own(CDR, names, name="late", passive=True, queue=f"{names}late", exchange=f"{names}x")

    async with running(node.url, good, bad) as consumer:
        await eventually(lambda: "does not exist" in consumer.source.problems().get("late", ""))
        await eventually(lambda: "cdr" not in consumer.source.problems())


async def come_back(url: str, queue: str, times: int) -> None:
    """Take the queue's one message and refuse it, so often."""
    async with publisher(url) as channel:
        for _ in range(times):
            message = None
            while message is None:
                message = await (await channel.get_queue(queue)).get(fail=False)
            await message.reject(requeue=True)


@pytest.mark.parametrize(("times", "is_parked"), [(MAX_RETURNS - 1, False), (MAX_RETURNS, True)])
async def test_a_message_that_came_back_too_often_is_parked_unread(
    node: RabbitNode, names: str, times: int, is_parked: bool
) -> None:
    source = own(CDR, names)
    async with consuming(node.url, source):
        pass  # the queue is there
    await publish(node.url, source, body(1))
    await come_back(node.url, source.queue, times)

    async with consuming(node.url, source) as consumer:
        (item,) = await consumer.take(1)

    assert isinstance(item.content, Rejection if is_parked else Event)
    if isinstance(item.content, Rejection):
        assert item.content.reason is RejectionReason.HANDLER_ERROR
        assert f"came back unsettled {times} times" in item.content.detail
    assert "x-delivery-count" not in item.raw.properties.headers


async def test_a_count_of_returns_that_the_publisher_wrote_is_not_believed(node: RabbitNode, names: str) -> None:
    source = own(CDR, names)
    async with consuming(node.url, source) as consumer:
        await publish(node.url, source, body(1), headers={"x-acquired-count": 99, "x-delivery-count": 99})

        assert ids(await consumer.take(1)) == ["evt_1"]
