"""When a webhook counts as failing, when that suspends it, and how seldom either is written."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from router.application.definitions import DefinitionBook
from router.application.health import SHOWN_WITHIN, WebhookHealth
from router.domain.delivery import Attempt, AttemptError, DeliveryReason, DeliveryStatus, Trigger
from router.domain.retry import Again, End
from router.domain.webhook import Suspension, SuspensionReason, Webhook, WebhookId
from tests.support.fakes_delivery import NOW, FakeClock, FakeDefinitions, snapshot, webhook

SUSPEND_AFTER = timedelta(days=5)
RECOVERED_AFTER = timedelta(seconds=60)
LONG_AGO = NOW - timedelta(days=30)
AGAIN = Again(at=NOW)
GONE = End(status=DeliveryStatus.FAILED, reason=DeliveryReason.GONE)
SUSPENDED = Suspension(since=NOW, reason=SuspensionReason.GONE)


class World:
    """The health of one webhook, and the definitions that show it when a test says so."""

    def __init__(self, shown: Webhook | None = None, *, announcing: bool = True) -> None:
        self.clock, self.definitions, self.book = FakeClock(), FakeDefinitions(), DefinitionBook()
        self.pokes = 0
        self.health = WebhookHealth(
            self.book,
            self.definitions,
            self.clock,
            SUSPEND_AFTER,
            recovered_after=RECOVERED_AFTER,
            announced=self._announced if announcing else None,
        )
        self.show(shown or webhook())

    def _announced(self) -> None:
        self.pokes += 1

    def show(self, *webhooks: Webhook) -> None:
        self.book.load(snapshot(*webhooks))

    def goes_by(self, time: timedelta) -> None:
        self.clock.moment += time

    async def succeeds(self) -> None:
        await self.health.mind(webhook().id, attempt(None), End(status=DeliveryStatus.DELIVERED))

    async def fails(self, after: Again | End = AGAIN, error: AttemptError = AttemptError.TIMEOUT) -> None:
        await self.health.mind(webhook().id, attempt(error), after)

    @property
    def writes(self) -> list[object]:
        return [*self.definitions.failing, *self.definitions.healthy, *self.definitions.suspended]

    @property
    def told(self) -> list[tuple[str, str, datetime]]:
        """Key, reason and `since` of what was announced."""
        assert self.pokes == len(self.definitions.announced)
        return [(each.key.value, each.reason.value, each.since) for each in self.definitions.announced]

    @property
    def reasons(self) -> list[SuspensionReason]:
        return [suspension.reason for _, suspension in self.definitions.suspended]


def attempt(error: AttemptError | None) -> Attempt:
    return Attempt(
        number=1,
        trigger=Trigger.SCHEDULE,
        started_at=NOW,
        duration_ms=1,
        status_code=200 if error is None else None,
        error=error,
        response_body=None,
        response_truncated=False,
    )


# --- what is written -------------------------------------------------------------------------------


async def test_a_webhook_that_works_costs_no_write() -> None:
    world = World()

    for _ in range(3):
        await world.succeeds()

    assert world.writes == []


async def test_the_first_failure_is_written_with_its_time_and_the_others_are_not() -> None:
    world = World()

    await world.fails()
    world.goes_by(timedelta(seconds=1))
    await world.fails()

    assert world.definitions.failing == [("wh_1", NOW)]


async def test_a_webhook_that_goes_on_failing_costs_no_write() -> None:
    world = World(webhook(failing_since=NOW))
    world.goes_by(timedelta(days=1))

    await world.fails()

    assert world.definitions.failing == []


async def test_the_first_success_after_failures_is_written_once_though_the_definitions_do_not_show_it_yet() -> None:
    world = World(webhook(failing_since=LONG_AGO))

    await world.succeeds()
    await world.succeeds()

    assert world.definitions.healthy == ["wh_1"]


async def test_success_right_after_the_first_failure_is_written_before_the_definitions_show_either() -> None:
    world = World()

    await world.fails()
    await world.succeeds()
    await world.succeeds()

    assert (world.definitions.failing, world.definitions.healthy) == ([("wh_1", NOW)], ["wh_1"])


async def test_each_webhook_is_judged_by_itself() -> None:
    world = World()
    world.show(webhook("wh_1"), webhook("wh_2", failing_since=LONG_AGO))

    await world.fails()

    assert world.definitions.failing == [("wh_1", NOW)]
    assert world.definitions.suspended == []


async def test_a_webhook_that_was_deleted_meanwhile_has_no_health() -> None:
    world = World()
    world.show()

    await world.fails(GONE)
    await world.succeeds()

    assert world.writes == []


@pytest.mark.parametrize("since", [None, LONG_AGO])
async def test_an_address_that_we_refuse_says_nothing_of_the_webhook(since: datetime | None) -> None:
    world = World(webhook(failing_since=since))
    blocked = End(status=DeliveryStatus.FAILED, reason=DeliveryReason.BLOCKED_ADDRESS)

    await world.fails(blocked, AttemptError.BLOCKED_ADDRESS)

    assert world.writes == []


# --- what suspends ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failing_for", "suspends"),
    [(SUSPEND_AFTER - timedelta(milliseconds=1), False), (SUSPEND_AFTER, True), (timedelta(days=30), True)],
)
async def test_nothing_but_failures_for_long_enough_suspends(failing_for: timedelta, suspends: bool) -> None:
    world = World(webhook(failing_since=NOW - failing_for))

    await world.fails()

    assert world.reasons == ([SuspensionReason.FAILING] if suspends else [])


async def test_gone_suspends_at_the_first_time() -> None:
    world = World()

    await world.fails(GONE, AttemptError.HTTP_STATUS)

    assert world.definitions.suspended == [(WebhookId("wh_1"), SUSPENDED)]


async def test_gone_is_the_reason_also_after_long_failing() -> None:
    world = World(webhook(failing_since=LONG_AGO))

    await world.fails(GONE, AttemptError.HTTP_STATUS)

    assert world.reasons == [SuspensionReason.GONE]


async def test_what_is_suspended_already_is_not_suspended_again() -> None:
    world = World(webhook(failing_since=LONG_AGO, suspension=SUSPENDED))

    await world.fails(GONE)
    await world.fails()

    assert world.definitions.suspended == []


async def test_an_exhausted_delivery_alone_does_not_suspend() -> None:
    world = World()

    await world.fails(End(status=DeliveryStatus.FAILED, reason=DeliveryReason.EXHAUSTED))

    assert world.definitions.suspended == []


# --- while the definitions lag behind --------------------------------------------------------------


async def test_failures_right_after_a_success_are_new_whatever_the_definitions_still_show() -> None:
    world = World(webhook(failing_since=LONG_AGO))

    await world.succeeds()
    for _ in range(3):
        await world.fails()

    assert world.definitions.suspended == []
    assert world.definitions.failing == [("wh_1", NOW)]


async def test_what_another_worker_wrote_counts_as_soon_as_the_definitions_show_it() -> None:
    world = World()
    await world.fails()

    # A success there, and the first failure after it here.
    world.show(webhook(failing_since=NOW))
    world.show(webhook(failing_since=None))
    world.goes_by(timedelta(seconds=1))
    await world.fails()

    assert [since for _, since in world.definitions.failing] == [NOW, NOW + timedelta(seconds=1)]


async def test_a_resumed_webhook_that_goes_on_failing_is_suspended_again_after_as_long() -> None:
    world = World()
    await world.fails()
    world.show(webhook(failing_since=NOW))
    world.goes_by(SUSPEND_AFTER)
    await world.fails()
    assert len(world.reasons) == 1

    world.show(webhook())  # somebody resumed it
    await world.fails()
    assert len(world.reasons) == 1, "it has the whole time again"
    assert world.definitions.failing[1:] == [("wh_1", NOW + SUSPEND_AFTER)]
    world.show(webhook(failing_since=NOW + SUSPEND_AFTER))
    world.goes_by(SUSPEND_AFTER)
    await world.fails()

    assert world.reasons == [SuspensionReason.FAILING] * 2


async def test_what_was_written_is_believed_for_as_long_as_definitions_may_lag_and_no_longer() -> None:
    """Definitions that came back to what they were look as if they had not changed."""
    world = World()
    await world.fails()

    world.goes_by(SHOWN_WITHIN)
    await world.fails()
    assert len(world.definitions.failing) == 1

    world.goes_by(timedelta(milliseconds=1))
    await world.fails()
    assert len(world.definitions.failing) == 2


# --- what is announced -----------------------------------------------------------------------------


async def test_a_burst_of_gone_suspends_and_announces_once_before_the_definitions_show_it() -> None:
    world = World()

    for _ in range(5):
        await world.fails(GONE)

    assert world.definitions.suspended == [("wh_1", SUSPENDED)]
    assert world.told == [("webhook.suspended", "gone", NOW)]


async def test_a_suspension_says_since_when_the_webhook_had_been_failing() -> None:
    world = World(webhook(failing_since=LONG_AGO))

    await world.fails()

    assert world.told == [("webhook.suspended", "failing", LONG_AGO)]


@pytest.mark.parametrize(
    ("failing_for", "recovers"),
    [(RECOVERED_AFTER - timedelta(milliseconds=1), False), (RECOVERED_AFTER, True), (timedelta(days=4), True)],
)
async def test_a_success_after_long_enough_failing_is_a_recovery_and_a_hiccup_is_none(
    failing_for: timedelta, recovers: bool
) -> None:
    world = World(webhook(failing_since=NOW - failing_for))

    for _ in range(3):
        await world.succeeds()

    assert world.definitions.healthy == ["wh_1"]
    assert world.told == ([("webhook.recovered", "failing", NOW - failing_for)] if recovers else [])


async def test_the_first_success_after_a_suspension_that_was_lifted_is_a_recovery() -> None:
    lifted = Suspension(since=LONG_AGO, reason=SuspensionReason.GONE)
    world = World(webhook(recovering_from=lifted))

    await world.succeeds()
    await world.succeeds()
    world.show(webhook())
    await world.succeeds()

    assert world.definitions.healthy == ["wh_1"]
    assert world.told == [("webhook.recovered", "suspended", LONG_AGO)]


async def test_a_resumed_webhook_that_fails_first_has_recovered_only_with_its_success() -> None:
    lifted = Suspension(since=LONG_AGO, reason=SuspensionReason.GONE)
    world = World(webhook(recovering_from=lifted))

    await world.fails()
    assert world.told == []
    world.goes_by(timedelta(seconds=1))
    await world.succeeds()

    assert world.told == [("webhook.recovered", "suspended", LONG_AGO)]


async def test_a_success_that_was_in_flight_while_the_webhook_was_suspended_is_no_recovery() -> None:
    world = World(webhook(failing_since=LONG_AGO))

    await world.fails()
    await world.succeeds()
    world.show(webhook(failing_since=LONG_AGO, suspension=SUSPENDED))
    await world.succeeds()

    assert [key for key, _, _ in world.told] == ["webhook.suspended"]
    assert world.definitions.healthy == ["wh_1", "wh_1"]


async def test_with_announcing_switched_off_the_health_is_kept_and_nothing_announced() -> None:
    world = World(webhook(failing_since=LONG_AGO), announcing=False)

    await world.succeeds()
    await world.fails(GONE)

    assert (world.definitions.healthy, world.reasons) == (["wh_1"], [SuspensionReason.GONE])
    assert (world.definitions.announced, world.pokes) == ([], 0)
