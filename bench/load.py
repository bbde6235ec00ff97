"""Publishes events with confirms: a number as fast as they are confirmed, or at a steady rate."""

from __future__ import annotations

import asyncio
import sys
import time

import aio_pika
import uvloop

_BODY = (
    '{"id":"%s","type":"cdr","name":"cdr.created","version":"1","occurred_at":"2026-11-24T09:17:48.120Z",'
    '"account_id":"bench","call_id":"c-%s","sequence":2,'
    '"tracking_number":{"id":"tn-5501","number":"+33199001234","label":"Google Ads Paris"},"user_id":"u-17",'
    '"published_ns":%d,'
    '"data":{"direction":"inbound","caller":{"number":"+33639981122","anonymous":false,"country":"FR"},'
    '"called_number":"+33199001234","redirection_number":"+33199007788","answered":true,"disposition":"answered",'
    '"started_at":"2026-11-24T09:14:07.412Z","answered_at":"2026-11-24T09:14:15.003Z",'
    '"ended_at":"2026-11-24T09:17:48.120Z","ring_duration":8,"talk_duration":213,"call_duration":221,'
    '"hangup_by":"caller","hangup_cause":"NORMAL_CLEARING","sip_code":200,"recording":null,"source":"google_ads",'
    '"legs":[{"leg_id":"a1","to":"+33199007788","answered":true}]}}'
)
IN_FLIGHT = 200


async def main(amqp_url: str, exchange_name: str, count: int, rate: float) -> None:
    connection = await aio_pika.connect(amqp_url)
    channel = await connection.channel()
    exchange = await channel.get_exchange(exchange_name, ensure=False)
    room = asyncio.Semaphore(IN_FLIGHT)
    run = time.monotonic_ns()

    async def publish(number: int) -> None:
        body = (_BODY % (f"evt_{run}_{number}", number, time.monotonic_ns())).encode()
        try:
            await exchange.publish(
                aio_pika.Message(body, content_type="application/json", delivery_mode=2), "cdr.created.bench"
            )
        finally:
            room.release()

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            if rate:
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            await room.acquire()
            group.create_task(publish(number))
    await connection.close()


uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
