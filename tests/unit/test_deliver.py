"""One attempt, from claim to result, and what is done with it once it is recorded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from router.application.brake import EgressBrake
from router.application.definitions import DefinitionBook
from router.application.deliver import Deliverer
from router.application.health import WebhookHealth
from router.application.lanes import LaneLimits, Lanes
from router.application.record import ENOUGH_UNRECORDED, MAX_UNRECORDED, Recorder
from router.application.timers import Timers
from router.application.turns import Turns
from router.domain.credentials import BasicAuth, OAuth2Auth
from router.domain.delivery import AttemptError, Claim, DeliveryId, DeliveryReason, DeliveryStatus
from router.domain.event import EventType
from router.domain.outcome import Answer, LocalFault, NoAnswer, SendResult
from router.domain.retry import Again, End, Schedule
from router.domain.signing import Secret, SigningKey, sign
from router.domain.webhook import Suspension, SuspensionReason, Webhook
from router.ports import OutgoingRequest, Rest, Result
from router.telemetry.metrics import Metrics
from tests.support.fakes_delivery import (
    NOW,
    FakeClock,
    FakeDefinitions,
    FakeDeliveries,
    FakeSender,
    circuits,
    claim,
    no_jitter,
    snapshot,
    webhook,
)

DELAYS = (timedelta(seconds=1), timedelta(minutes=10))
DAYS, MINUTE = timedelta(days=5), timedelta(minutes=1)
SCHEDULE = Schedule(timeout=timedelta(seconds=5), delays=DELAYS, max_age=None)
FAR_AWAY = 1e12
FAILURE = Answer(status_code=500, body=b"oops", truncated=False)


@dataclass
class World:
    """A deliverer and a recorder over fakes; `deliver` runs both to their end."""

    webhook: Webhook | None = field(default_factory=webhook)
    account_enabled: bool = True
    answer: SendResult = field(default_factory=lambda: Answer(status_code=200, body=b"ok", truncated=False))

    def __post_init__(self) -> None:
        self.clock, self.deliveries, self.definitions = FakeClock(), FakeDeliveries(), FakeDefinitions()
        self.sender = FakeSender(self.answer)
        self.book = DefinitionBook()
        self.book.load(snapshot(*([self.webhook] if self.webhook else []), enabled=self.account_enabled))
        self.circuits = circuits(self.clock)
        self.brake = EgressBrake()
        self.lanes = Lanes(LaneLimits(in_flight=10, in_flight_per_lane=10, queued_per_lane=500))
        self.timers = Timers(self.lanes)
        metrics = Metrics("test")
        self.recorder = Recorder(
            deliveries=self.deliveries,
            health=WebhookHealth(
                self.book, self.definitions, self.clock, timedelta(days=5), recovered_after=timedelta(minutes=1)
            ),
            book=self.book,
            circuits=self.circuits,
            lanes=self.lanes,
            timers=self.timers,
            clock=self.clock,
            metrics=metrics,
            turns=Turns(),
        )
        self.deliverer = Deliverer(
            lanes=self.lanes,
            book=self.book,
            definitions=self.definitions,
            sender=self.sender,
            recorder=self.recorder,
            circuits=self.circuits,
            brake=self.brake,
            schedules=dict.fromkeys(EventType, SCHEDULE),
            clock=self.clock,
            jitter=no_jitter,
            user_agent="webhook-router/test",
            metrics=metrics,
        )

    async def deliver(self, *claims: Claim, lease_until_the_end_of_time: bool = True) -> list[Result]:
        for each in claims:
            # The lease is counted on this host's monotonic clock.
            self.lanes.offer(each, now=FAR_AWAY if lease_until_the_end_of_time else -FAR_AWAY)
        running = asyncio.create_task(self.deliverer.run())
        while any(self.lanes._lanes[lane].waiting for lane in self.lanes._lanes):
            await asyncio.sleep(0)
        self.deliverer.stop()
        await running
        self.recorder.stop()
        await self.recorder.run()
        return self.deliveries.recorded


async def test_a_success_ends_the_delivery_and_is_logged_whole() -> None:
    world = World()

    (result,) = await world.deliver(claim())

    assert result.next == End(status=DeliveryStatus.DELIVERED)
    assert result.attempt is not None
    assert (result.attempt.number, result.attempt.status_code, result.attempt.error) == (1, 200, None)
    assert result.attempt.response_body == "ok"
    assert world.lanes.held == 0


async def test_a_request_carries_what_the_contract_says() -> None:
    world = World(replace(webhook(secrets=(b"k" * 32,)), headers=(("x-crm", "1"), ("User-Agent", "x"))))

    await world.deliver(replace(claim(attempt_count=2), event_id="évt"))

    (request,) = world.sender.requests
    headers = request.headers
    assert request.body == b"{}"
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"] == "webhook-router/test"
    assert headers["webhook-id"].startswith("evt_")
    assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert headers["webhook-signature"].startswith("v1,")
    assert (headers["x-webhook-event"], headers["x-webhook-delivery"], headers["x-webhook-attempt"]) == (
        "cdr",
        "dlv_1",
        "3",
    )
    assert headers["x-crm"] == "1"
    assert "x-webhook-replay" not in headers


async def test_without_a_secret_there_is_no_signature() -> None:
    world = World()
    await world.deliver(claim())

    assert "webhook-signature" not in world.sender.requests[0].headers


async def test_an_old_secret_signs_until_its_end_on_the_clock_of_the_store() -> None:
    secrets = (Secret(b"n" * 32), Secret(b"o" * 32, NOW + timedelta(seconds=1)), Secret(b"p" * 32, NOW))
    world = World(replace(webhook(), secrets=secrets, signing_key=SigningKey(bytes(32))))

    await world.deliver(claim())

    signature = world.sender.requests[0].headers["webhook-signature"]
    assert [entry.partition(",")[0] for entry in signature.split()] == ["v1", "v1", "v1a"]
    request = world.sender.requests[0]
    keys = [b"n" * 32, b"o" * 32]
    assert signature == sign(
        keys, request.headers["webhook-id"], int(NOW.timestamp()), request.body, SigningKey(bytes(32))
    )


async def test_a_fixed_credential_is_a_header_and_an_oauth2_client_is_the_senders_business() -> None:
    fixed = World(replace(webhook(), auth=BasicAuth(username="u", password="p")))
    client = OAuth2Auth(token_url="https://login.example.com/", client_id="router", client_secret="hush")
    renewed = World(replace(webhook(), auth=client))

    await fixed.deliver(claim())
    await renewed.deliver(claim())

    (with_header,), (without,) = fixed.sender.requests, renewed.sender.requests
    assert (with_header.headers["authorization"], with_header.auth) == ("Basic dTpw", None)
    assert (without.headers.get("authorization"), without.auth) == (None, client)
    assert without.webhook_id == webhook().id


async def test_what_kept_a_token_away_is_in_the_attempt_log() -> None:
    note = "token endpoint: answered 401, invalid_client"
    world = World(answer=NoAnswer(error=AttemptError.HTTP_STATUS, detail=note, note=note))

    (result,) = await world.deliver(claim())

    assert result.attempt is not None
    assert (result.attempt.error, result.attempt.status_code) == (AttemptError.HTTP_STATUS, None)
    assert result.attempt.response_body == note
    assert isinstance(result.next, Again), "the customer's server said nothing, so nothing ends"


async def test_a_near_retry_stays_in_memory_and_a_far_one_goes_back_to_the_store() -> None:
    near, far = World(answer=FAILURE), World(answer=FAILURE)

    (soon,) = await near.deliver(claim())
    (later,) = await far.deliver(claim(attempt_count=1))

    assert (soon.next, soon.keep_lease) == (Again(at=NOW + DELAYS[0] * (1 - 2**-54)), True)
    assert near.lanes.held == 1
    assert not later.keep_lease
    assert far.lanes.held == 0


async def test_a_near_retry_goes_back_to_a_store_that_is_behind() -> None:
    world = World(answer=FAILURE)
    for number in range(ENOUGH_UNRECORDED + 1):
        world.recorder.put(
            Result(claim=claim(f"dlv_{number}"), attempt=None, next=End(status=DeliveryStatus.DELIVERED))
        )

    result = (await world.deliver(claim()))[-1]

    assert isinstance(result.next, Again)
    assert not result.keep_lease


async def test_a_near_retry_goes_back_to_the_store_where_it_would_wait_for_a_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Lanes, "is_doubt_exhausted", True)

    (result,) = await World(answer=FAILURE).deliver(claim())

    assert isinstance(result.next, Again)
    assert not result.keep_lease


async def test_after_the_last_attempt_the_delivery_has_failed() -> None:
    (result,) = await World(answer=FAILURE).deliver(claim(attempt_count=2))

    assert result.next == End(status=DeliveryStatus.FAILED, reason=DeliveryReason.EXHAUSTED)


async def test_a_fault_of_ours_is_no_attempt() -> None:
    world = World(answer=LocalFault(detail="no descriptors"))

    (result,) = await world.deliver(claim())

    assert result.attempt is None
    assert isinstance(result.next, Again)
    assert world.definitions.failing == []


# --- what is not sent ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "held"),
    [
        (World(webhook(enabled=False)), True),
        (World(webhook(problem="secret: must be a string")), True),
        (World(account_enabled=False), True),
        (World(), False),
    ],
    ids=["paused", "invalid", "account off", "active"],
)
async def test_what_may_not_be_sent_now_is_held(world: World, held: bool) -> None:
    await world.deliver(claim())

    assert bool(world.deliveries.held) is held
    assert bool(world.sender.requests) is not held
    assert world.lanes.held == 0


@pytest.mark.parametrize(
    ("world", "of", "ended"),
    [
        (World(None), claim(), End(status=DeliveryStatus.CANCELLED, reason=DeliveryReason.WEBHOOK_DELETED)),
        (
            World(),
            claim(not_after=NOW - timedelta(milliseconds=1)),
            End(status=DeliveryStatus.EXPIRED, reason=DeliveryReason.TOO_OLD),
        ),
        (
            World(webhook(suspension=Suspension(since=NOW, reason=SuspensionReason.GONE))),
            claim(),
            End(status=DeliveryStatus.FAILED, reason=DeliveryReason.SUSPENDED),
        ),
        (
            World(webhook(problem="url: …", url="http://")),
            claim(),
            End(status=DeliveryStatus.FAILED, reason=DeliveryReason.INVALID_URL),
        ),
    ],
    ids=["deleted", "too old", "suspended", "invalid url"],
)
async def test_what_is_over_ends_without_a_request(world: World, of: Claim, ended: End) -> None:
    (result,) = await world.deliver(of)

    assert (result.next, result.attempt) == (ended, None)
    assert world.sender.requests == []


async def test_a_call_at_its_very_last_moment_is_still_sent() -> None:
    world = World()
    await world.deliver(claim(not_after=NOW))

    assert len(world.sender.requests) == 1


async def test_a_webhook_that_memory_does_not_know_yet_is_looked_up() -> None:
    world = World(None)
    world.definitions.stored = {webhook().id: webhook()}
    # Its account is known to be on.
    world.book.load(snapshot())

    (result,) = await world.deliver(claim())

    assert result.next == End(status=DeliveryStatus.DELIVERED)


async def test_a_claim_whose_lease_is_over_is_dropped_unsent() -> None:
    world = World()

    assert await world.deliver(claim(), lease_until_the_end_of_time=False) == []
    assert world.sender.requests == []
    assert world.lanes.held == 0


async def test_a_result_that_another_worker_overtook_is_forgotten() -> None:
    world = World(answer=FAILURE)
    world.deliveries.lost = {DeliveryId("dlv_1")}

    await world.deliver(claim())

    assert world.lanes.held == 0
    assert world.definitions.failing == []


async def test_no_attempt_begins_while_too_many_results_are_unrecorded() -> None:
    world = World()
    for number in range(MAX_UNRECORDED):
        world.recorder.put(
            Result(claim=claim(f"dlv_{number}"), attempt=None, next=End(status=DeliveryStatus.DELIVERED))
        )
    waiting = asyncio.create_task(world.recorder.room())
    await asyncio.sleep(0)
    assert not waiting.done()

    world.recorder.stop()
    await world.recorder.run()
    await waiting

    assert len(world.deliveries.recorded) == MAX_UNRECORDED


# --- the health of webhooks ------------------------------------------------------------------------


async def test_a_burst_of_failures_is_written_down_once() -> None:
    world = World(answer=FAILURE)

    await world.deliver(*(claim(f"dlv_{number}") for number in range(5)))

    assert world.definitions.failing == [("wh_1", NOW)]
    assert world.definitions.suspended == []


async def test_the_first_success_after_failures_is_written_down() -> None:
    world = World(webhook(failing_since=NOW - timedelta(days=30)))

    await world.deliver(claim("dlv_1"), claim("dlv_2"))

    assert world.definitions.healthy == ["wh_1"]
    assert world.definitions.suspended == []


@pytest.mark.parametrize(("days", "suspended"), [(4.9, False), (5, True)])
async def test_nothing_but_failures_for_long_suspends(days: float, suspended: bool) -> None:
    world = World(webhook(failing_since=NOW - timedelta(days=days)), answer=FAILURE)

    await world.deliver(claim())

    expected = [("wh_1", Suspension(since=NOW, reason=SuspensionReason.FAILING))] if suspended else []
    assert world.definitions.suspended == expected


async def test_gone_ends_the_delivery_and_suspends() -> None:
    world = World(answer=Answer(status_code=410, body=b"", truncated=False))

    (result,) = await world.deliver(claim())

    assert result.next == End(status=DeliveryStatus.FAILED, reason=DeliveryReason.GONE)
    assert world.definitions.suspended == [("wh_1", Suspension(since=NOW, reason=SuspensionReason.GONE))]
    assert not world.circuits.is_failing(webhook().id), "what waits for it is to end, not to rest"


async def test_an_address_that_we_refuse_says_nothing_of_the_webhook() -> None:
    old = webhook(failing_since=NOW - timedelta(days=30))
    world = World(old, answer=NoAnswer(error=AttemptError.BLOCKED_ADDRESS))

    (result,) = await world.deliver(claim())

    assert result.next == End(status=DeliveryStatus.FAILED, reason=DeliveryReason.BLOCKED_ADDRESS)
    assert world.definitions.suspended == []


# --- circuits and the brake ------------------------------------------------------------------------


async def test_failures_make_a_webhook_a_failing_one_and_a_success_ends_that() -> None:
    world = World(answer=FAILURE)
    await world.deliver(claim())
    assert world.circuits.is_failing(webhook().id)

    well = World(webhook(failing_since=NOW - timedelta(days=1)))
    await well.deliver(claim())
    assert not well.circuits.is_failing(webhook().id)


async def test_an_open_circuit_holds_what_is_no_probe_and_burns_no_attempt() -> None:
    world = World(webhook(failing_since=NOW - timedelta(hours=1)), answer=FAILURE)

    results = await world.deliver(*(claim(f"dlv_{number}") for number in range(5)))

    assert len(world.sender.requests) == len(results) == 1
    assert [rest.claim.delivery_id for rest in world.deliveries.held] == [f"dlv_{number}" for number in range(1, 5)]
    assert all(rest.until > NOW for rest in world.deliveries.held)
    assert world.deliveries.woken == []


async def test_what_is_held_after_the_circuit_has_closed_is_woken_at_once() -> None:
    world = World(webhook(failing_since=NOW - timedelta(hours=1)))
    world.recorder.hold(Rest(claim=claim("dlv_2"), until=NOW + timedelta(minutes=1)))

    await world.deliver(claim("dlv_1"))

    assert [rest.claim.delivery_id for rest in world.deliveries.held] == ["dlv_2"]
    assert world.deliveries.woken == ["wh_1"]


@pytest.mark.parametrize(
    "answer", [LocalFault(detail="no descriptors"), NoAnswer(error=AttemptError.BLOCKED_ADDRESS)], ids=repr
)
async def test_what_says_nothing_of_the_webhook_leaves_its_circuit_alone(answer: SendResult) -> None:
    world = World(webhook(failing_since=NOW - timedelta(hours=1)), answer=answer)

    await world.deliver(claim())

    assert world.circuits.admit(claim("dlv_2"), webhook()) is None, "the next one may be the probe"


async def test_while_the_brake_is_on_its_failures_are_no_attempts() -> None:
    world = World(answer=NoAnswer(error=AttemptError.DNS))
    world.brake.kind = "dns"

    results = [await world.deliverer._attempt(claim(), webhook())]

    assert [(result.attempt, type(result.next)) for result in results] == [(None, Again)]
    assert not world.circuits.is_failing(webhook().id)


async def test_an_attempt_that_raises_each_time_takes_the_course_of_a_failure() -> None:
    class Raising(FakeSender):
        async def send(self, request: OutgoingRequest) -> SendResult:
            raise ZeroDivisionError("https://crm.example/secret")

    world = World()
    world.deliverer._sender = Raising()

    (first,) = await world.deliver(claim())
    last = await world.deliverer._attempt(claim(attempt_count=2), webhook())

    assert first.attempt is not None
    assert first.attempt.error is AttemptError.OTHER
    assert isinstance(first.next, Again)
    assert last.next == End(status=DeliveryStatus.FAILED, reason=DeliveryReason.EXHAUSTED)
