"""Modelled customers: webhooks with traffic by Zipf's law, servers that answer, are slow, or do not; and the record of
what reached them, which is what a run is judged by.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import accumulate
from random import Random

from bench.simulation.client import Lifeline
from bench.simulation.processor import Processor
from router.domain.delivery import AttemptError, DeliveryId
from router.domain.event import AccountId, EventType
from router.domain.outcome import Answer, NoAnswer, SendResult
from router.domain.webhook import Webhook, WebhookId
from router.ports import OutgoingRequest

CONNECT_SECONDS = 3.0
"""The default of `delivery.connect_timeout_seconds`."""
SLOW_SECONDS = 9.0
_OK = Answer(status_code=204, body=b"", truncated=False)


class Kind(Enum):
    HEALTHY = "healthy"
    UNREACHABLE = "unreachable"
    SILENT = "silent"
    SLOW = "slow"
    RESETTING = "resetting"
    REFUSING = "refusing"


BAD_KINDS = (
    Kind.UNREACHABLE, Kind.SILENT, Kind.SLOW, Kind.RESETTING, Kind.UNREACHABLE,
    Kind.SILENT, Kind.SLOW, Kind.REFUSING, Kind.UNREACHABLE, Kind.SILENT,
)  # fmt: skip
"""In about the parts that the isolation measurement of `make bench` has."""


@dataclass(slots=True)
class Customer:
    """`median_seconds` of its answers; `down_until` for an outage on schedule."""

    webhook: Webhook
    kind: Kind
    median_seconds: float
    down_until: float = 0.0


@dataclass(slots=True)
class Journey:
    """What is known of one delivery outside the router; times are of the loop."""

    customer: Customer
    published: float
    first_request: float | None = None
    accepted: int = 0


@dataclass(slots=True)
class Record:
    journeys: dict[DeliveryId, Journey] = field(default_factory=dict)
    requests: int = 0


def make_customers(
    count: int, *, bad_share: float, median_seconds: float, spread: float, random: Random
) -> list[Customer]:
    """The first has the most traffic. The bad ones are drawn, of each kind as many as BAD_KINDS has."""
    bad = random.sample(range(count), round(count * bad_share))
    kinds = {each: BAD_KINDS[index % len(BAD_KINDS)] for index, each in enumerate(bad)}
    return [
        Customer(
            webhook=_webhook(number),
            kind=kinds.get(number, Kind.HEALTHY),
            median_seconds=median_seconds * random.lognormvariate(0, spread) if median_seconds else 0.0,
        )
        for number in range(count)
    ]


def _webhook(number: int) -> Webhook:
    return Webhook(
        id=WebhookId(f"wh_{number}"),
        account_id=AccountId(str(number)),
        name="CRM",
        url=f"https://crm-{number}.example/hook",
        event_type=EventType.CDR,
        enabled=True,
    )


def cumulative_weights(count: int, *, zipf: float, noisy_share: float) -> list[float]:
    """Of customers in their order; with `noisy_share`, the first has that share of everything."""
    weights = [1 / (rank + 1) ** zipf for rank in range(count)]
    if noisy_share:
        weights[0] = sum(weights[1:]) * noisy_share / (1 - noisy_share) if count > 1 else 1.0
    return list(accumulate(weights))


class ModelSender:
    """Fulfils `ports.Sender` for one worker."""

    def __init__(
        self,
        *,
        customers: Mapping[WebhookId, Customer],
        record: Record,
        processor: Processor,
        delivery_seconds: float,
        spread: float,
        random: Random,
        lifeline: Lifeline,
    ) -> None:
        self._customers = customers
        self._record = record
        self._processor = processor
        self._delivery_seconds = delivery_seconds
        self._spread = spread
        self._random = random
        self._lifeline = lifeline

    async def send(self, request: OutgoingRequest) -> SendResult:
        await self._lifeline.hold_on()
        await self._processor.work(self._delivery_seconds)
        await self._lifeline.hold_on()
        loop = asyncio.get_running_loop()
        journey = self._record.journeys[DeliveryId(request.headers["x-webhook-delivery"])]
        self._record.requests += 1
        if journey.first_request is None:
            journey.first_request = loop.time()
        customer = self._customers[request.webhook_id]
        kind = Kind.UNREACHABLE if loop.time() < customer.down_until else customer.kind
        answer = await self._answer(kind, customer, request.timeout.total_seconds())
        if isinstance(answer, Answer) and answer.status_code < 300:
            journey.accepted += 1
        await self._lifeline.hold_on()
        return answer

    async def _answer(self, kind: Kind, customer: Customer, patience: float) -> SendResult:
        wait = customer.median_seconds * self._random.lognormvariate(0, self._spread) if customer.median_seconds else 0
        match kind:
            case Kind.UNREACHABLE:
                await asyncio.sleep(CONNECT_SECONDS)
                return NoAnswer(error=AttemptError.CONNECT_TIMEOUT)
            case Kind.RESETTING:
                await asyncio.sleep(wait / 2)
                return NoAnswer(error=AttemptError.CONNECTION_RESET)
            case Kind.REFUSING:
                await asyncio.sleep(wait)
                return Answer(status_code=503, body=b"", truncated=False)
            case Kind.SLOW:
                wait += SLOW_SECONDS
            case Kind.SILENT:
                wait = patience + 1
            case Kind.HEALTHY:
                pass
        await asyncio.sleep(min(wait, patience))
        return _OK if wait <= patience else NoAnswer(error=AttemptError.TIMEOUT)
