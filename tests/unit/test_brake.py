"""When failures are put down to our own way out, and when to the customers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from router.application.brake import (
    LATE_SECONDS,
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
HOSTS = [f"crm-{number}.example" for number in range(MIN_HOSTS)]


class World:
    def __init__(self) -> None:
        self.seconds = 100.0
        self.brake = EgressBrake(lambda: self.seconds)

    def silence(self) -> World:
        self.seconds += SILENCE_SECONDS
        return self

    def judge(self, result: SendResult, hosts: Iterable[str] = HOSTS) -> list[SendResult]:
        return [self.brake.judge(host, result) for host in hosts]


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
            if error not in (AttemptError.DNS, AttemptError.CONNECT_TIMEOUT, AttemptError.OTHER)
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
