"""Consuming from a real RabbitMQ: what is declared, what comes, what is acknowledged, and what is lost: nothing."""

from __future__ import annotations

import asyncio

import aio_pika
import pytest
from aio_pika import ExchangeType
from aiormq.exceptions import ChannelPreconditionFailed

from router.domain.errors import ConfigurationRefused
from router.domain.event import Rejection, RejectionReason
from router.ports import EXCHANGE_HEADER, ROUTING_KEY_HEADER
from tests.support import eventually
from tests.support.consuming import (
    CALL,
    CDR,
    NOW,
    USER,
    body,
    consuming,
    ids,
    own,
    publish,
    publisher,
    queued,
    running,
)
from tests.support.servers import Broker

QUORUM = {"x-queue-type": "quorum"}


# --- topology --------------------------------------------------------------------------------------


async def test_what_is_missing_is_declared_as_the_contract_says(vhost: str) -> None:
    async with consuming(vhost, CALL, CDR, USER) as consumer:
        assert consumer.source.status() == {"call": True, "cdr": True, "user": True}

        # The broker refuses a declaration that differs in anything from what is there.
        async with publisher(vhost) as channel:
            for name in ("call", "cdr", "user"):
                await channel.declare_exchange(name, ExchangeType.TOPIC, durable=True)
                await channel.declare_queue(f"webhook-router.{name}", durable=True, arguments=QUORUM)  # type: ignore[arg-type]
        for source in (CALL, CDR, USER):
            await publish(vhost, source, body(), key=f"{source.name}.any.thing")
        taken = await consumer.take(3)

    assert sorted(item.raw.source for item in taken) == ["call", "cdr", "user"]


async def test_what_is_there_already_is_taken_up(rabbit: Broker, names: str) -> None:
    source = own(CDR, names)
    for number in (1, 2):
        async with consuming(rabbit.url, source) as consumer:
            await publish(rabbit.url, source, body(number))
            taken = await consumer.take(1)
            await consumer.source.settle(taken)
            assert ids(taken) == [f"evt_{number}"]


async def test_a_queue_of_another_type_is_refused_by_the_name_of_the_argument(rabbit: Broker, names: str) -> None:
    source = own(CDR, names)
    async with publisher(rabbit.url) as channel:
        await channel.declare_queue(source.queue, durable=True, arguments={"x-queue-type": "classic"})

    async with running(rabbit.url, source) as consumer:
        with pytest.raises(ConfigurationRefused, match="x-queue-type is classic on the broker, quorum was wanted"):
            await consumer.source.wait_until_consuming()
        assert consumer.source.status() == {"cdr": False}


async def test_an_exchange_of_another_type_is_refused_by_the_name_of_the_argument(rabbit: Broker, names: str) -> None:
    source = own(CDR, names)
    async with publisher(rabbit.url) as channel:
        await channel.declare_exchange(source.exchange, ExchangeType.FANOUT, durable=True)

    async with running(rabbit.url, source) as consumer:
        with pytest.raises(ConfigurationRefused, match=rf"exchange '{source.exchange}': type is fanout"):
            await consumer.source.wait_until_consuming()


async def test_what_an_operator_put_right_is_consumed_without_a_restart(rabbit: Broker, names: str) -> None:
    source = own(CDR, names)
    async with publisher(rabbit.url) as channel:
        await channel.declare_exchange(source.exchange, ExchangeType.FANOUT, durable=True)

        async with running(rabbit.url, source) as consumer:
            with pytest.raises(ConfigurationRefused):
                await consumer.source.wait_until_consuming()
            await channel.exchange_delete(source.exchange)
            await eventually(lambda: consumer.source.status() == {"cdr": True})
            await consumer.source.wait_until_consuming()


async def test_wrong_credentials_are_refused_and_the_password_is_not_told(rabbit: Broker, names: str) -> None:
    url = rabbit.url.replace("guest:guest@", "guest:hunter2@")

    async with running(url, own(CDR, names)) as consumer:
        with pytest.raises(ConfigurationRefused, match=r"amqp\.url") as caught:
            await consumer.source.wait_until_consuming()
    assert "hunter2" not in str(caught.value)


async def test_a_passive_source_takes_exchange_and_queue_as_their_owner_made_them(rabbit: Broker, names: str) -> None:
    source = own(CDR, names, passive=True)
    async with publisher(rabbit.url) as channel:
        exchange = await channel.declare_exchange(source.exchange, ExchangeType.FANOUT, durable=False)
        queue = await channel.declare_queue(source.queue, durable=True, arguments={"x-max-length": 1_000})
        await queue.bind(exchange)

    async with consuming(rabbit.url, source) as consumer:
        await publish(rabbit.url, source, body())
        assert ids(await consumer.take(1)) == ["evt_1"]


async def test_a_passive_source_makes_and_binds_a_queue_that_is_missing(rabbit: Broker, names: str) -> None:
    source = own(CDR, names, passive=True, binding_keys=("cdr.*", "record.#"))
    async with publisher(rabbit.url) as channel:
        await channel.declare_exchange(source.exchange, ExchangeType.TOPIC, durable=False)

    async with consuming(rabbit.url, source) as consumer:
        await publish(rabbit.url, source, body(1), key="cdr.created")
        await publish(rabbit.url, source, body(2), key="call.created")
        await publish(rabbit.url, source, body(3), key="record.of.a.call")
        assert ids(await consumer.take(2)) == ["evt_1", "evt_3"]


async def test_a_passive_source_waits_for_the_exchange_of_its_publisher(rabbit: Broker, names: str) -> None:
    source = own(CDR, names, passive=True)

    async with running(rabbit.url, source) as consumer, publisher(rabbit.url) as channel:
        assert consumer.source.status() == {"cdr": False}
        await channel.declare_exchange(source.exchange, ExchangeType.TOPIC, durable=True)
        await eventually(lambda: consumer.source.status() == {"cdr": True})


async def test_a_headers_exchange_is_bound_by_its_arguments(rabbit: Broker, names: str) -> None:
    wanted = {"x-match": "all", "tenant": "t-1"}
    source = own(CDR, names, exchange_type="headers", binding_keys=("",), binding_arguments=wanted)

    async with consuming(rabbit.url, source) as consumer:
        await publish(rabbit.url, source, body(1), headers={"tenant": "t-2"})
        await publish(rabbit.url, source, body(2), headers={"tenant": "t-1"})
        assert ids(await consumer.take(1)) == ["evt_2"]


async def test_the_queue_is_no_other_than_quorum(rabbit: Broker, names: str) -> None:
    source = own(CDR, names)
    async with consuming(rabbit.url, source), publisher(rabbit.url) as channel:
        with pytest.raises(ChannelPreconditionFailed):
            await channel.declare_queue(source.queue, durable=True, arguments={"x-queue-type": "classic"})


# --- what comes ------------------------------------------------------------------------------------


async def test_a_message_comes_with_its_bytes_origin_and_properties(rabbit: Broker, names: str) -> None:
    source = own(CDR, names)
    properties = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "message_id": "m-1",
        "type": "cdr",
        "timestamp": NOW,
        "headers": {"tenant": "t-1", "n": 1, "yes": True, "no scalar": [1]},
    }
    async with consuming(rabbit.url, source) as consumer:
        await publish(rabbit.url, source, b'{"account_id": 1e3, "id"', key="cdr.created", **properties)
        (item,) = await consumer.take(1)

    assert isinstance(item.content, Rejection)
    assert item.content.reason is RejectionReason.NOT_JSON
    raw = item.raw
    assert raw.body == b'{"account_id": 1e3, "id"'
    assert (raw.source, raw.exchange, raw.routing_key) == ("cdr", source.exchange, "cdr.created")
    assert (raw.received_at, raw.redelivered) == (NOW, False)
    assert raw.properties.headers == {"tenant": "t-1", "n": 1, "yes": True}
    assert (raw.properties.content_type, raw.properties.content_encoding) == ("application/json", "utf-8")
    assert (raw.properties.message_id, raw.properties.type, raw.properties.timestamp) == ("m-1", "cdr", NOW)


async def test_a_requeued_message_shows_its_first_origin_and_not_the_headers_that_tell_it(
    rabbit: Broker, names: str
) -> None:
    source = own(CDR, names)
    headers = {EXCHANGE_HEADER: "first.exchange", ROUTING_KEY_HEADER: "first.key", "tenant": "t-1"}
    async with consuming(rabbit.url, source) as consumer, publisher(rabbit.url) as channel:
        await channel.default_exchange.publish(aio_pika.Message(body(), headers=dict(headers)), source.queue)
        (item,) = await consumer.take(1)

    assert (item.raw.exchange, item.raw.routing_key) == ("first.exchange", "first.key")
    assert item.raw.properties.headers == {"tenant": "t-1"}


async def test_a_publisher_cannot_pretend_another_origin(rabbit: Broker, names: str) -> None:
    source = own(CDR, names)
    async with consuming(rabbit.url, source) as consumer:
        await publish(rabbit.url, source, body(), key="cdr.created", headers={EXCHANGE_HEADER: "elsewhere"})
        (item,) = await consumer.take(1)

    assert (item.raw.exchange, item.raw.routing_key) == (source.exchange, "cdr.created")


async def test_messages_of_one_source_come_in_order_and_no_more_than_asked_for(rabbit: Broker, names: str) -> None:
    source = own(CDR, names)
    async with consuming(rabbit.url, source) as consumer:
        await publish(rabbit.url, source, *(body(number) for number in range(7)))
        await consumer.until_waiting(7)

        batches = [ids(list(await consumer.source.take(3))) for _ in range(3)]

    assert batches == [["evt_0", "evt_1", "evt_2"], ["evt_3", "evt_4", "evt_5"], ["evt_6"]]


async def test_calls_come_before_records_that_arrived_earlier(rabbit: Broker, names: str) -> None:
    cdr, call = own(CDR, names), own(CALL, names)
    async with consuming(rabbit.url, cdr, call) as consumer:
        await publish(rabbit.url, cdr, body(1), body(2))
        await consumer.until_waiting(2)
        await publish(rabbit.url, call, body(3))
        await consumer.until_waiting(3)

        assert ids(list(await consumer.source.take(2))) == ["evt_3", "evt_1"]


async def test_no_more_than_the_prefetch_is_unacknowledged(rabbit: Broker, names: str) -> None:
    source = own(CDR, names, prefetch=2)
    async with consuming(rabbit.url, source) as consumer:
        await publish(rabbit.url, source, *(body(number) for number in range(3)))
        await consumer.until_waiting(2)
        taken = await consumer.take(2)

        # The third comes by the acknowledgement of the others, and by nothing else.
        await consumer.source.settle(taken)
        assert ids(await consumer.take(1)) == ["evt_2"]


async def test_who_waits_for_an_arrival_is_told_when_the_source_is_stopped(rabbit: Broker, names: str) -> None:
    async with consuming(rabbit.url, own(CDR, names)) as consumer:
        waiting = asyncio.create_task(consumer.source.arrival(), name="arrival")
        await asyncio.sleep(0)
        await consumer.source.cancel()

        assert not await waiting
        assert list(await consumer.source.take(10)) == []


# --- what is acknowledged --------------------------------------------------------------------------


async def test_settling_acknowledges_what_was_taken_and_nothing_beside(rabbit: Broker, names: str) -> None:
    source = own(CDR, names)
    async with consuming(rabbit.url, source) as consumer:
        await publish(rabbit.url, source, *(body(number) for number in range(4)))
        await consumer.until_waiting(4)
        await consumer.source.settle(await consumer.take(1))
        await consumer.source.settle(await consumer.take(2))

    assert await queued(rabbit.url, source) == [body(3)]


async def test_a_batch_of_several_sources_is_acknowledged_on_each(rabbit: Broker, names: str) -> None:
    cdr, call = own(CDR, names), own(CALL, names)
    async with consuming(rabbit.url, cdr, call) as consumer:
        for source in (cdr, call):
            await publish(rabbit.url, source, body(1), body(2))
        await consumer.until_waiting(4)
        await consumer.source.settle(await consumer.source.take(3))

    assert await queued(rabbit.url, call) == []
    assert await queued(rabbit.url, cdr) == [body(2)]


async def test_what_was_taken_and_not_settled_comes_again_after_a_close(rabbit: Broker, names: str) -> None:
    source = own(CDR, names)
    async with consuming(rabbit.url, source) as consumer:
        await publish(rabbit.url, source, body(1), body(2))
        assert ids(await consumer.take(1)) == ["evt_1"]

    async with consuming(rabbit.url, source) as consumer:
        taken = await consumer.take(2)

    assert sorted(ids(taken)) == ["evt_1", "evt_2"]
    assert all(item.raw.redelivered for item in taken)


async def test_what_was_taken_can_still_be_settled_after_the_consumer_was_stopped(rabbit: Broker, names: str) -> None:
    source = own(CDR, names)
    async with consuming(rabbit.url, source) as consumer:
        await publish(rabbit.url, source, body(1), body(2))
        await consumer.until_waiting(2)
        taken = await consumer.take(1)
        await consumer.source.cancel()
        await consumer.source.settle(taken)
        assert consumer.acks_lost == 0

    assert await queued(rabbit.url, source) == [body(2)]


async def test_settling_on_a_connection_that_is_gone_is_counted_and_the_message_comes_again(
    rabbit: Broker, names: str
) -> None:
    source = own(CDR, names)
    async with consuming(rabbit.url, source) as consumer:
        await publish(rabbit.url, source, body())
        first = await consumer.take(1)
        await consumer.connection.close()

        again = await consumer.take(1)
        await consumer.source.settle(first)
        assert consumer.acks_lost == 1
        await consumer.source.settle(again)
        assert again[0].raw.redelivered

    assert consumer.acks_lost == 1
    assert await queued(rabbit.url, source) == []


# --- what is lost ----------------------------------------------------------------------------------


async def test_a_consumer_whose_queue_was_deleted_makes_it_again_and_consumes(rabbit: Broker, names: str) -> None:
    source = own(CDR, names)
    async with consuming(rabbit.url, source) as consumer:
        lost = consumer.connection
        async with publisher(rabbit.url) as channel:
            await channel.queue_delete(source.queue)
        await consumer.until_consuming_on_another(lost)

        await publish(rabbit.url, source, body())
        assert ids(await consumer.take(1)) == ["evt_1"]


async def test_what_had_arrived_on_a_lost_connection_is_not_taken_twice(rabbit: Broker, names: str) -> None:
    source = own(CDR, names)
    async with consuming(rabbit.url, source) as consumer:
        await publish(rabbit.url, source, body(1), body(2))
        await consumer.until_waiting(2)
        lost = consumer.connection
        await lost.close()
        await consumer.until_consuming_on_another(lost)
        await consumer.until_waiting(2)

        taken = await consumer.take(2)
        assert sorted(ids(taken)) == ["evt_1", "evt_2"]
        await consumer.source.settle(taken)

    assert await queued(rabbit.url, source) == []
