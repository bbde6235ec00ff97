"""The policies of config/rabbitmq on a real broker: a message that keeps being returned ends where it can be seen."""

import asyncio
from pathlib import Path

import aio_pika

from router.adapters.embedded.broker import RabbitNode

POLICIES = Path(__file__).parents[2] / "config" / "rabbitmq" / "policies.json"


async def test_a_message_that_is_rejected_too_often_is_set_aside(own_rabbit: RabbitNode) -> None:
    own_rabbit.ctl("import_definitions", str(POLICIES))
    async with await aio_pika.connect(own_rabbit.url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        queue = await channel.declare_queue("webhook-router.call", durable=True, arguments={"x-queue-type": "quorum"})
        await channel.default_exchange.publish(aio_pika.Message(b"hurts"), routing_key=queue.name)

        deliveries = 0
        async with queue.iterator() as messages:
            async for message in messages:
                deliveries += 1
                await message.reject(requeue=True)
                if deliveries == 21:  # the first delivery and 20 more
                    break

        returned = await channel.get_queue("webhook-router.returned")
        # The broker moves it after the reject, in its own time.
        async with asyncio.timeout(30):
            while (set_aside := await returned.get(fail=False)) is None:
                await asyncio.sleep(0.05)
        assert set_aside.body == b"hurts"
        await set_aside.ack()
