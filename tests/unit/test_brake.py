"""When failures are put down to our own way out, and when to the customers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from router.application.brake import (
    LATE_SECONDS,
    LONG_SILENCE_SECONDS,
    MAX_HOSTS,
    MIN_HOSTS,
    PROBE_SECONDS,
    SILENCE_SECONDS,
    WINDOW_SECONDS,
    EgressBrake,
)
from router.domain.delivery import AttemptError
from router.domain.outcome import Answer, LocalFault, NoAnswer, SendResult

OK = Answer(status_code=200, body=b"", truncated=False)
DNS = NoAnswer(error=AttemptError.DNS)
LOCAL = LocalFault(detail="Too many open files")
REFUSED = NoAnswer(error=AttemptError.CONNECTION_REFUSED)
BLACK_HOLE = NoAnswer(error=AttemptError.CONNECT_TIMEOUT)
HOSTS = [f"crm-{number}.example" for number in range(MIN_HOSTS)]
OTHERS = [f"pbx-{number}.example" for number in range(MIN_HOSTS)]
STRANGERS = [f"new-{number}.example" for number in range(MIN_HOSTS)]


class World:
    def __init__(self) -> None:
        self.seconds = 100.0
        self.brake = EgressBrake(lambda: self.seconds)

    def silence(self) -> World:
        self.seconds += SILENCE_SECONDS
        return self

    def judge(self, result: SendResult, hosts: Iterable[str] = HOSTS, *, after: float = 0.0) -> list[SendResult]:
        """The results of attempts that began `after` seconds ago."""
        return [self.brake.judge(host, result, began=self.seconds - after) for host in hosts]


@pytest.mark.parametrize(
    "result", [DNS, LOCAL, NoAnswer(error=AttemptError.CONNECT_TIMEOUT), NoAnswer(error=AttemptError.OTHER)], ids=repr
)
def test_everybody_who_fails_alike_in_silence_is_our_own_fault(result: SendResult) -> None:
    world = World().silence()

    *before, last = world.judge(result)

    assert world.brake.is_on
    assert before == [result] * (MIN_HOSTS - 1)
    assert isinstance(last, LocalFault)


def test_one_host_less_is_a_coincidence() -> None:
    world = World().silence()
    world.judge(DNS, HOSTS[1:])
    world.judge(DNS, HOSTS[1:])

    assert not world.brake.is_on


def test_failures_within_a_moment_of_an_answer_are_the_customers() -> None:
    world = World().silence()
    world.judge(OK, HOSTS[:1])
    world.seconds += SILENCE_SECONDS - 0.01

    assert world.judge(DNS) == [DNS] * MIN_HOSTS
    assert not world.brake.is_on


@pytest.mark.parametrize(
    "heard",
    [
        OK,
        Answer(status_code=503, body=b"", truncated=False),
        *(
            NoAnswer(error=error)
            for error in AttemptError
            if error not in (AttemptError.DNS, AttemptError.CONNECT_TIMEOUT, AttemptError.OTHER, AttemptError.TIMEOUT)
        ),
    ],
    ids=repr,
)
def test_whoever_is_heard_of_shows_that_the_way_out_is_there(heard: SendResult) -> None:
    world = World().silence()
    world.judge(DNS)

    assert world.judge(heard, HOSTS[:1]) == [heard]

    assert not world.brake.is_on
    world.seconds += LATE_SECONDS
    assert world.judge(DNS, HOSTS[1:]) == [DNS] * (MIN_HOSTS - 1), "what was before does not count any more"


def test_what_began_before_the_release_may_fail_late_and_is_no_attempt() -> None:
    world = World().silence()
    world.judge(DNS)
    world.judge(OK, HOSTS[:1])
    world.seconds += LATE_SECONDS - 0.1

    (late,) = world.judge(DNS, HOSTS[:1])

    assert isinstance(late, LocalFault)
    assert not world.brake.is_on


def test_failures_of_another_kind_stay_the_customers_while_the_brake_is_on() -> None:
    world = World().silence()
    world.judge(DNS)
    timeout = NoAnswer(error=AttemptError.CONNECT_TIMEOUT)

    assert world.judge(timeout, HOSTS[:1]) == [timeout]


def test_failures_long_ago_do_not_count() -> None:
    world = World().silence()
    world.judge(DNS, HOSTS[:-1])
    world.seconds += WINDOW_SECONDS + 1

    world.judge(DNS, HOSTS[-1:])

    assert not world.brake.is_on


# --- who is evidence -------------------------------------------------------------------------------


def heard(*hosts: str) -> World:
    """A world where these were heard of, and then nobody."""
    world = World()
    world.judge(OK, hosts)
    return world.silence()


def half_down() -> World:
    """HOSTS were alive and began to fail while OTHERS were heard of."""
    world = heard(*HOSTS, *OTHERS)
    world.judge(OK, OTHERS[:1])
    world.judge(DNS)
    world.judge(OK, OTHERS[:1])
    return world.silence()


@pytest.mark.parametrize(
    ("world", "failing", "is_on"),
    [
        pytest.param(World().silence(), STRANGERS, True, id="after a start everybody counts"),
        pytest.param(heard(*HOSTS[1:]), STRANGERS, True, id="and while hardly anybody was heard of"),
        pytest.param(
            heard(*HOSTS), STRANGERS, False, id="later strangers do not: another worker may know them as dead"
        ),
        pytest.param(heard(*HOSTS), HOSTS, True, id="who was alive counts"),
        pytest.param(
            heard(*HOSTS), [*HOSTS[1:], *STRANGERS], False, id="one less is a coincidence, with all strangers"
        ),
        pytest.param(half_down(), HOSTS, False, id="who failed while others were heard of is dead by itself"),
        pytest.param(half_down(), [*HOSTS, *OTHERS[1:]], False, id="and adds nothing to four who were alive"),
        pytest.param(half_down(), [*HOSTS, *OTHERS], True, id="our way out dies during an outage of customers"),
        pytest.param(heard(*HOSTS), HOSTS[:3] * 100, False, id="three customers are all there is, and down"),
    ],
)
def test_only_who_was_heard_of_when_last_tried_is_evidence(world: World, failing: list[str], is_on: bool) -> None:
    world.judge(DNS, failing)

    assert world.brake.is_on is is_on


def test_who_works_again_is_evidence_again() -> None:
    world = half_down()
    world.judge(OK)
    world.silence().judge(DNS)

    assert world.brake.is_on


def test_a_fault_that_is_surely_ours_counts_whoever_meets_it() -> None:
    world = half_down()
    world.judge(LOCAL)

    assert world.brake.is_on


def test_a_fault_that_is_surely_ours_makes_nobody_a_failing_host() -> None:
    world = heard(*HOSTS, *OTHERS)
    world.judge(LOCAL, HOSTS[1:])
    world.judge(OK, OTHERS[:1])
    world.silence().judge(DNS)

    assert world.brake.is_on


@pytest.mark.parametrize(("after", "is_on"), [(SILENCE_SECONDS, True), (SILENCE_SECONDS + 0.01, False)])
def test_what_began_before_somebody_was_heard_of_says_nothing_of_afterwards(after: float, is_on: bool) -> None:
    world = heard(*HOSTS)
    world.judge(BLACK_HOLE, after=after)

    assert world.brake.is_on is is_on


@pytest.mark.parametrize(("silence", "is_on"), [(LONG_SILENCE_SECONDS, True), (LONG_SILENCE_SECONDS - 0.01, False)])
def test_after_a_long_silence_whoever_fails_counts(silence: float, is_on: bool) -> None:
    world = half_down()
    world.seconds += silence - SILENCE_SECONDS
    world.judge(DNS)

    assert world.brake.is_on is is_on


def test_no_answer_in_time_says_nothing() -> None:
    """The request may have gone out on a connection that was kept."""
    world = heard(*HOSTS)
    world.judge(DNS, HOSTS[1:])
    world.judge(NoAnswer(error=AttemptError.TIMEOUT), HOSTS[:1])
    world.judge(DNS, HOSTS[:1])
    assert world.brake.is_on

    world.judge(NoAnswer(error=AttemptError.TIMEOUT), HOSTS[:1])

    assert world.brake.is_on


@pytest.mark.parametrize(
    ("by", "is_on"),
    [
        pytest.param(HOSTS[0], True, id="one that had failed: the way out came back, so all were alive"),
        pytest.param(OTHERS[0], False, id="one that was not tried: those who failed may be dead"),
    ],
)
def test_who_releases_tells_what_it_was(by: str, is_on: bool) -> None:
    world = heard(*HOSTS, *OTHERS)
    world.judge(DNS)
    assert world.brake.is_on
    world.judge(REFUSED, [by])

    world.seconds += LATE_SECONDS
    world.judge(DNS)

    assert world.brake.is_on is is_on


def test_what_is_remembered_of_hosts_is_bounded() -> None:
    world = heard(*HOSTS)
    many = [f"host-{number}.example" for number in range(MAX_HOSTS)]
    world.judge(OK, many)
    world.silence().judge(DNS)

    assert not world.brake.is_on, "they gave way to those that were heard of later"


# --- the trickle -----------------------------------------------------------------------------------


async def test_attempts_begin_freely_while_it_is_off() -> None:
    await World().brake.clearance()


async def test_a_trickle_of_attempts_begins_while_it_is_on() -> None:
    world = World().silence()
    world.judge(DNS)
    waiting = asyncio.create_task(world.brake.clearance())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()

    world.seconds += PROBE_SECONDS

    await world.brake.clearance()


@pytest.mark.parametrize("release", ["answer", "stop"])
async def test_an_answer_or_a_stop_lets_go_whoever_waits(release: str) -> None:
    world = World().silence()
    world.judge(DNS)
    waiting = asyncio.create_task(world.brake.clearance())
    await asyncio.sleep(0)

    if release == "answer":
        world.judge(OK, HOSTS[:1])
    else:
        world.brake.stop()

    await waiting


def test_what_fails_in_a_shutdown_pulls_no_brake() -> None:
    world = World().silence()
    world.brake.stop()

    world.judge(LOCAL)

    assert not world.brake.is_on
