"""Publishes events with confirms: a number as fast as they are confirmed, or at a steady rate.

For one account and number, or spread evenly over the endpoints of the isolation measurement: `all`, `healthy`, or so
many of them. Touches the broker.
"""

from __future__ import annotations

import argparse
import asyncio
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


def body_of(identity: str, account: str, call: int, tracking_number: str, size: int) -> bytes:
    """An event of about 860 bytes; of `size` bytes where that is more."""
    body = _BODY % (identity, account, call, tracking_number, time.monotonic_ns())
    room = size - len(body) - len(',"notes":""')
    notes = f',"notes":"{"x" * room}"' if room > 0 else ""
    return (body[:-2] + notes + body[-2:]).encode()


async def main(given: argparse.Namespace) -> None:
    targets = [("bench", "+33199001234")]
    if given.spread:
        targets = [(account_of(each), number_of(each)) for each in chosen(given.spread)]
    connection = await aio_pika.connect(given.amqp_url)
    channel = await connection.channel()
    exchange = await channel.get_exchange(given.exchange, ensure=False)
    room = asyncio.Semaphore(IN_FLIGHT)
    run = time.monotonic_ns()

    async def publish(number: int) -> None:
        account, tracking_number = targets[number % len(targets)]
        identity = f"evt_{run}_{number}"
        body = body_of(identity, account, number, tracking_number, given.size)
        try:
            await exchange.publish(
                aio_pika.Message(body, content_type="application/json", delivery_mode=2), "cdr.created.bench"
            )
        finally:
            room.release()

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(given.count):
            if given.rate:
                await asyncio.sleep(max(0.0, began + number / given.rate - time.monotonic()))
            await room.acquire()
            group.create_task(publish(number))
    await connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("amqp_url")
    parser.add_argument("exchange")
    parser.add_argument("count", type=int)
    parser.add_argument("rate", type=float)
    parser.add_argument("--spread", default="")
    parser.add_argument("--size", type=int, default=0)
    uvloop.run(main(parser.parse_args()))
