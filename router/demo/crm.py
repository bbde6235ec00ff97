"""The demo's customers as servers: they check every signature, and answer well, slowly, or with an error.

Keeps the ledger, and tells whoever watches. The check of signatures is written here once more, from the
specification, on purpose without the router's own.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from router.demo.ledger import Arrival, Ledger, Receipt
from router.web.receiver import ReceivedRequest, ReceiverAnswer

TOLERANCE_SECONDS: Final = 300
"""Age of a signature that is still taken; the specification leaves the number to the receiver."""
FIRST_REFUSED: Final = 6
"""This delivery is refused in every run, so that short ones show a retry too."""
_REFUSED_SHARE: Final = 0.08
_REFUSED_AGAIN_SHARE: Final = 0.25
_SLOW_SHARE: Final = 0.05
_RETRY_AFTER_SECONDS: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Mood:
    """How a customer's server answers this time."""

    status: int
    delay_seconds: float
    retry_after_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One answered request, for the screen."""

    hook_id: str
    receipt: Receipt
    mood: Mood


def choose_mood(random: Random, *, nth: int, deliveries: int) -> Mood:
    """How the `nth` try of a delivery is answered; `deliveries` were met so far. The third is always taken."""
    refused = {1: _REFUSED_SHARE, 2: _REFUSED_AGAIN_SHARE}.get(nth, 0.0)
    quick = random.uniform(0.001, 0.008)
    if random.random() < refused or (nth == 1 and deliveries == FIRST_REFUSED):
        if random.random() < 0.5:
            return Mood(status=503, delay_seconds=quick, retry_after_seconds=_RETRY_AFTER_SECONDS)
        return Mood(status=500, delay_seconds=quick)
    if random.random() < _SLOW_SHARE:
        return Mood(status=200, delay_seconds=random.uniform(0.3, 1.2))
    return Mood(status=200, delay_seconds=quick)


def is_signed(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> bool:
    """Whether `webhook-signature` has a v1 signature by `secret` (`whsec_…`), made not long before or after `now`.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    key = b64decode(secret.removeprefix("whsec_"))
    content = b".".join((webhook_id.encode(), timestamp.encode(), body))
    wanted = b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    signatures = (part.partition(",") for part in headers.get("webhook-signature", "").split(" "))
    return any(version == "v1" and hmac.compare_digest(text, wanted) for version, _, text in signatures)


class Crm:
    """Every customer's server at once; the path of a request says which webhook it is for."""

    def __init__(self, random: Random, ledger: Ledger, watch: Callable[[Visit], None]) -> None:
        self.secrets: dict[str, str] = {}
        """By webhook: what its owner was shown once."""
        self._random = random
        self._ledger = ledger
        self._watch = watch

    async def answer(self, request: ReceivedRequest) -> ReceiverAnswer:
        at = time.monotonic()
        hook_id, event_id = request.path.removeprefix("/hooks/"), request.headers.get("webhook-id", "")
        secret = self.secrets.get(hook_id)
        signed = secret is not None and is_signed(request.headers, request.body, secret, time.time())
        receipt = self._ledger.receive(event_id, hook_id, request.body, signed=signed, at=at)
        mood = self._mood_for(receipt)

        await asyncio.sleep(mood.delay_seconds)

        if receipt.arrival is Arrival.AWAITED:
            self._ledger.answer(event_id, hook_id, ok=mood.status == 200)
        self._watch(Visit(hook_id=hook_id, receipt=receipt, mood=mood))
        headers = {} if mood.retry_after_seconds is None else {"Retry-After": str(mood.retry_after_seconds)}
        return ReceiverAnswer(status=mood.status, body=_BODIES[mood.status], headers=headers)

    def _mood_for(self, receipt: Receipt) -> Mood:
        match receipt.arrival:
            case Arrival.FORGED:
                return Mood(status=401, delay_seconds=0)
            case Arrival.AWAITED:
                return choose_mood(self._random, nth=receipt.nth, deliveries=len(self._ledger.delays))
            case _:
                return Mood(status=200, delay_seconds=0)


_BODIES: Final[Mapping[int, str]] = {
    200: "ok",
    401: "the signature is wrong",
    500: "the CRM has a bad day",
    503: "the CRM is being updated",
}
