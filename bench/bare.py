"""What the router is compared with: aio-pika consumes, aiohttp posts, aio-pika acks. No store, log or retry."""

from __future__ import annotations

import asyncio
import sys

import aio_pika
import aiohttp
import uvloop
from aio_pika.abc import AbstractIncomingMessage


async def main(amqp_url: str, exchange_name: str, target: str) -> None:
    connection = await aio_pika.connect(amqp_url)
    channel = await connection.channel(publisher_confirms=False)
    await channel.set_qos(prefetch_count=100)
    exchange = await channel.declare_exchange(exchange_name, aio_pika.ExchangeType.TOPIC, durable=True)
    queue = await channel.declare_queue(f"bench.{exchange_name}", durable=True, arguments={"x-queue-type": "quorum"})
    await queue.bind(exchange, "#")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32)) as session:

        async def deliver(message: AbstractIncomingMessage) -> None:
            async with session.post(target, data=message.body, headers={"content-type": "application/json"}) as answer:
                await answer.read()
            await message.ack()

        await queue.consume(deliver)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
