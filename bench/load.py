"""Publishes events with confirms: a number as fast as they are confirmed, or at a steady rate.

For one account and number, or spread evenly over the endpoints of the isolation measurement (`all`, `healthy`).
"""

from __future__ import annotations

import asyncio
import sys
import time

import aio_pika
import uvloop

from bench.endpoints import account_of, chosen, number_of

_BODY = (
    '{"id":"%s","type":"cdr","name":"cdr.created","version":"1","occurred_at":"2026-11-24T09:17:48.120Z",'
    '"account_id":"%s","call_id":"c-%s","sequence":2,'
    '"tracking_number":{"id":"tn-5501","number":"%s","label":"Google Ads Paris"},"user_id":"u-17",'
    '"published_ns":%d,'
    '"data":{"direction":"inbound","caller":{"number":"+33639981122","anonymous":false,"country":"FR"},'
    '"called_number":"+33199001234","redirection_number":"+33199007788","answered":true,"disposition":"answered",'
    '"started_at":"2026-11-24T09:14:07.412Z","answered_at":"2026-11-24T09:14:15.003Z",'
    '"ended_at":"2026-11-24T09:17:48.120Z","ring_duration":8,"talk_duration":213,"call_duration":221,'
    '"hangup_by":"caller","hangup_cause":"NORMAL_CLEARING","sip_code":200,"recording":null,"source":"google_ads",'
    '"legs":[{"leg_id":"a1","to":"+33199007788","answered":true}]}}'
)
IN_FLIGHT = 200


async def main(amqp_url: str, exchange_name: str, count: int, rate: float, spread: str | None = None) -> None:
    targets = (
        [(account_of(each), number_of(each)) for each in chosen(spread)] if spread else [("bench", "+33199001234")]
    )
    connection = await aio_pika.connect(amqp_url)
    channel = await connection.channel()
    exchange = await channel.get_exchange(exchange_name, ensure=False)
    room = asyncio.Semaphore(IN_FLIGHT)
    run = time.monotonic_ns()

    async def publish(number: int) -> None:
        account, tracking_number = targets[number % len(targets)]
        identity = f"evt_{run}_{number}"
        body = (_BODY % (identity, account, number, tracking_number, time.monotonic_ns())).encode()
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


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), *sys.argv[5:]))
