"""One attempt, from claim to result: look the webhook up, decide whether to send, send, decide what follows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from math import ceil
from typing import assert_never
from urllib.parse import urlsplit

import structlog

from router.application.brake import EgressBrake
from router.application.circuits import Circuits
from router.application.definitions import DefinitionBook
from router.application.lanes import Lanes
from router.application.record import Recorder
from router.domain.credentials import OAuth2Auth
from router.domain.delivery import (
    MAX_KEPT_RESPONSE_BYTES,
    Attempt,
    AttemptError,
    Claim,
    DeliveryReason,
    DeliveryStatus,
    Trigger,
)
from router.domain.egress import check_url
from router.domain.event import EventType, header_id
from router.domain.lease import HELD_RECHECK, HOLD_IN_MEMORY
from router.domain.outcome import Answer, Classified, LocalFault, NoAnswer, Outcome, SendResult, classify
from router.domain.retry import Again, End, Jitter, Schedule, decide, is_too_old
from router.domain.signing import current, sign
from router.domain.trace import trace_id_of
from router.domain.webhook import Webhook, WebhookState
from router.ports import NOT_TRACED, Clock, DefinitionStore, OutgoingRequest, Rest, Result, Sender, Tracing
from router.telemetry.metrics import Metrics
from router.telemetry.pace import Pace
from router.telemetry.redact import place_of

log = structlog.get_logger("router.deliveries")


@dataclass(frozen=True, slots=True)
class Held:
    """The delivery rests until then, or until its account and webhook are enabled, the definition right, or the
    circuit closed again."""

    until: datetime


class Deliverer:
    """Service: takes claims from the lanes in their order and attempts them side by side."""

    name = "deliverer"

    def __init__(
        self,
        *,
        lanes: Lanes,
        book: DefinitionBook,
        definitions: DefinitionStore,
        sender: Sender,
        recorder: Recorder,
        circuits: Circuits,
        brake: EgressBrake,
        schedules: Mapping[EventType, Schedule],
        clock: Clock,
        jitter: Jitter,
        user_agent: str,
        metrics: Metrics,
        tracing: Tracing = NOT_TRACED,
        pace: Pace | None = None,
    ) -> None:
        self._lanes = lanes
        self._book = book
        self._definitions = definitions
        self._sender = sender
        self._recorder = recorder
        self._circuits = circuits
        self._brake = brake
        self._schedules = schedules
        self._clock = clock
        self._jitter = jitter
        self._user_agent = user_agent
        self._metrics = metrics
        self._tracing = tracing
        self._pace = pace or Pace()
        self._attempts: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Begin no further attempt; `run` ends when those in flight have ended."""
        self._lanes.close()
        self._brake.stop()

    async def run(self) -> None:
        while (claim := await self._next()) is not None:
            attempt = asyncio.create_task(self._handle(claim), name="attempt")
            self._attempts.add(attempt)
            attempt.add_done_callback(self._attempts.discard)
        if self._attempts:
            await asyncio.wait(self._attempts)

    async def _next(self) -> Claim | None:
        await self._recorder.room()
        await self._brake.clearance()
        return await self._lanes.next()

    async def abandon(self) -> None:
        """Cancel what is still in flight; nothing of it is recorded, so it is attempted again."""
        for attempt in self._attempts:
            attempt.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)

    async def _handle(self, claim: Claim) -> None:
        try:
            result = await self._deliver(claim)
        except Exception as error:
            # A bug of ours must not cost the delivery: its lease runs out and it is tried again.
            _tell_bug(claim, error)
            self._circuits.let_go(claim)
            self._lanes.forget(self._lanes.current(claim))
            return
        finally:
            self._lanes.landed(claim)
        match result:
            case Result():
                self._recorder.put(result)
            case Held(until=until):
                self._recorder.hold(Rest(claim=claim, until=until))
            case None:
                self._lanes.forget(self._lanes.current(claim))

    async def _deliver(self, claim: Claim) -> Result | Held | None:
        """The result of attempting `claim`; None where it is no longer ours."""
        # gather
        webhook = self._book.webhook(claim.webhook_id)
        if webhook is None:
            # Another worker may have learnt of it earlier than we did.
            webhook = await self._definitions.fetch(claim.webhook_id)
        claim = self._lanes.current(claim)
        if not self._lanes.holds(claim, now=time.monotonic()):
            return None

        # decide and apply
        if webhook is None:
            return _ended(claim, DeliveryStatus.CANCELLED, DeliveryReason.WEBHOOK_DELETED)
        withheld = _withheld(claim, webhook, is_open=self._book.is_open(webhook), now=self._clock.now())
        if withheld is not None:
            return withheld
        rests_until = None if claim.is_manual else self._circuits.admit(claim, webhook)
        return Held(rests_until) if rests_until is not None else await self._attempt(claim, webhook)

    async def _attempt(self, claim: Claim, webhook: Webhook) -> Result:
        self._recorder.begin(claim)
        number = claim.attempt_count + 1
        schedule = _schedule_of(claim, self._schedules[claim.event_type])
        started_at = self._clock.now()
        if number == 1 and not claim.is_manual:
            delay = (started_at - claim.received_at).total_seconds()
            self._metrics.first_attempt_delay.labels(claim.event_type.value).observe(max(0.0, delay))

        started = time.monotonic()
        answer = await self._send(claim, webhook, number)
        duration = time.monotonic() - started

        host = _host_of(webhook.url)
        answer = self._brake.judge(host, answer, began=started)
        classified = classify(answer)
        self._learn(claim, webhook, classified.outcome, duration)
        after = decide(
            classified,
            attempt_number=number - claim.attempts_before,
            schedule=schedule,
            not_after=claim.not_after,
            now=self._clock.now(),
            jitter=self._jitter,
        )
        attempt = None
        if classified.outcome is not Outcome.NOT_AN_ATTEMPT:
            attempt = Attempt(
                number=number,
                trigger=claim.trigger,
                started_at=started_at,
                duration_ms=ceil(duration * 1000),
                status_code=classified.status_code,
                error=classified.error,
                response_body=_kept_body(answer),
                response_truncated=isinstance(answer, Answer) and answer.truncated,
                error_detail=answer.error_detail if isinstance(answer, Answer | NoAnswer) else None,
            )
        detail = answer.detail if isinstance(answer, NoAnswer | LocalFault) else None
        self._tell(claim, classified, after, number=number, duration=duration, host=host, detail=detail)
        # What would wait here, for the store or for a place, has leases to renew. In the store it has none, and it is
        # claimed when there is time for it.
        near = isinstance(after, Again) and after.at - self._clock.now() <= HOLD_IN_MEMORY
        keep = near and not self._recorder.is_behind and not self._lanes.is_doubt_exhausted
        return Result(claim=claim, attempt=attempt, next=after, url=webhook.url, keep_lease=keep)

    async def _send(self, claim: Claim, webhook: Webhook, number: int) -> SendResult:
        try:
            return await self._sender.send(self._request(claim, webhook, number))
        except Exception as error:
            # A bug of ours. It takes its course as a failure does, so that it ends some time and can be seen.
            _tell_bug(claim, error)
            return NoAnswer(error=AttemptError.OTHER, detail="the attempt raised; see the log")

    def _learn(self, claim: Claim, webhook: Webhook, outcome: Outcome, duration: float) -> None:
        match outcome:
            case Outcome.DELIVERED:
                self._circuits.succeeded(webhook)
            case Outcome.RETRY if not claim.is_manual:
                self._circuits.failed(claim, webhook, after_seconds=duration)
            case Outcome.RETRY | Outcome.BLOCKED | Outcome.NOT_AN_ATTEMPT | Outcome.GONE:
                self._circuits.let_go(claim)  # what is gone is suspended, and not probed
            case _:
                assert_never(outcome)

    def _request(self, claim: Claim, webhook: Webhook, number: int) -> OutgoingRequest:
        event_id = header_id(claim.event_id)
        timestamp = int(self._clock.wall())
        headers = {
            **dict(webhook.sent_headers),
            "content-type": "application/json",
            "user-agent": self._user_agent,
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
            "x-webhook-event": claim.event_type.value,
            "x-webhook-delivery": claim.delivery_id,
            "x-webhook-attempt": str(number),
        }
        if claim.trigger is Trigger.REPLAY:
            headers["x-webhook-replay"] = "true"
        keys = [secret.key for secret in current(webhook.secrets, self._clock.now())]
        signature = sign(keys, event_id, timestamp, claim.payload, webhook.signing_key)
        if signature is not None:
            headers["webhook-signature"] = signature
        timeout = self._schedules[claim.event_type].timeout
        return OutgoingRequest(
            url=webhook.url,
            headers=headers,
            body=claim.payload,
            timeout=timeout,
            webhook_id=webhook.id,
            auth=webhook.auth if isinstance(webhook.auth, OAuth2Auth) else None,
            client_certificate=webhook.client_certificate,
        )

    def _tell(
        self,
        claim: Claim,
        classified: Classified,
        after: Again | End,
        *,
        number: int,
        duration: float,
        host: str,
        detail: str | None,
    ) -> None:
        """One wide line, the counters and the trace; no URL, number or payload."""
        error = classified.error.value if classified.error else None
        self._metrics.attempts.labels(classified.outcome.name.lower(), error or "").inc()
        self._metrics.attempt_duration.observe(duration)
        if classified.outcome is Outcome.DELIVERED:
            delay = (self._clock.now() - claim.received_at).total_seconds()
            self._metrics.delivered_delay.labels(claim.event_type.value).observe(max(0.0, delay))
        self._tracing.attempted(claim, classified, number=number, seconds=duration, host=host)
        suppressed = self._pace.admit()
        if suppressed is None:
            return
        line = {
            "account_id": claim.account_id,
            "webhook_id": claim.webhook_id,
            "event_id": claim.event_id,
            "event_type": claim.event_type.value,
            "delivery_id": claim.delivery_id,
            "attempt": number,
            "trigger": claim.trigger.value if claim.is_manual else None,
            "endpoint_host": host,
            "outcome": classified.outcome.name.lower(),
            "status_code": classified.status_code,
            "error": error,
            "detail": detail,
            "duration_ms": ceil(duration * 1000),
            "next_attempt_at": after.at.isoformat(timespec="milliseconds") if isinstance(after, Again) else None,
            "ended": after.status.value if isinstance(after, End) else None,
            "trace_id": trace_id_of(claim.trace_parent),
            "suppressed": suppressed or None,
        }
        log.info("attempt", **{name: value for name, value in line.items() if value is not None})


def _withheld(claim: Claim, webhook: Webhook, *, is_open: bool, now: datetime) -> Result | Held | None:
    """What becomes of a claim that must not be sent now; None where it may."""
    if is_too_old(claim.not_after, now):
        return _ended(claim, DeliveryStatus.EXPIRED, DeliveryReason.TOO_OLD)
    if webhook.state is WebhookState.INVALID and not _is_url_usable(webhook):
        return _ended(claim, DeliveryStatus.FAILED, DeliveryReason.INVALID_URL)
    if claim.is_manual and webhook.state is not WebhookState.INVALID:
        return None
    if not is_open:
        return Held(now + HELD_RECHECK)
    if webhook.state is WebhookState.SUSPENDED:
        return _ended(claim, DeliveryStatus.FAILED, DeliveryReason.SUSPENDED)
    return None


def _schedule_of(claim: Claim, schedule: Schedule) -> Schedule:
    """The schedule of its type; somebody who tests a webhook wants to know how one attempt goes."""
    return replace(schedule, delays=()) if claim.trigger is Trigger.TEST else schedule


def _tell_bug(claim: Claim, error: Exception) -> None:
    log.error("attempt_raised", delivery_id=claim.delivery_id, error=type(error).__name__, where=place_of(error))


def _ended(claim: Claim, status: DeliveryStatus, reason: DeliveryReason) -> Result:
    return Result(claim=claim, attempt=None, next=End(status=status, reason=reason))


@lru_cache(maxsize=4096)
def _host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


def _is_url_usable(webhook: Webhook) -> bool:
    try:
        check_url(webhook.url)
    except ValueError:
        return False
    return True


def _kept_body(answer: SendResult) -> str | None:
    """The part of an answer that the attempt log keeps, as text; or why there was none, where the log must say it."""
    if isinstance(answer, NoAnswer):
        return answer.note
    return answer.body[:MAX_KEPT_RESPONSE_BYTES].decode("utf-8", "replace") if isinstance(answer, Answer) else None
