"""How services are watched, and how they are stopped step by step."""

import asyncio
from contextlib import suppress

from router.daemon import EXIT_INTERNAL, EXIT_OK, LEFTOVER_ROUNDS, Step, StopSignal, Supervisor, end_leftovers


class Endless:
    """A service that runs until it is cancelled."""

    name = "endless"

    async def run(self) -> None:
        await asyncio.Event().wait()


class Broken:
    """A service that fails at once."""

    name = "broken"

    async def run(self) -> None:
        raise RuntimeError("broken")


class Ending:
    """A service that ends without an error, which a service must not."""

    name = "ending"

    async def run(self) -> None:
        return


async def test_a_stop_that_was_asked_for_is_a_clean_end() -> None:
    stop = StopSignal()
    supervisor = Supervisor(stop)
    supervisor.start([Endless()])

    stop.ask()

    assert await supervisor.watch() == EXIT_OK
    await supervisor.shut_down([])


async def test_a_service_that_fails_ends_the_daemon() -> None:
    supervisor = Supervisor(StopSignal())
    supervisor.start([Endless(), Broken()])

    assert await supervisor.watch() == EXIT_INTERNAL
    await supervisor.shut_down([])


async def test_a_service_that_just_ends_ends_the_daemon_too() -> None:
    supervisor = Supervisor(StopSignal())
    supervisor.start([Endless(), Ending()])

    assert await supervisor.watch() == EXIT_INTERNAL
    await supervisor.shut_down([])


async def test_steps_are_taken_in_order_and_a_failing_one_does_not_keep_the_next_from_being_taken() -> None:
    taken: list[str] = []

    async def first() -> None:
        taken.append("first")
        raise RuntimeError("first")

    async def second() -> None:
        taken.append("second")

    steps = [
        Step(name="first", action=first, timeout_seconds=10),
        Step(name="second", action=second, timeout_seconds=10),
    ]
    await Supervisor(StopSignal()).shut_down(steps)

    assert taken == ["first", "second"]


async def test_a_step_that_lasts_too_long_is_cut_short() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cut")

    await Supervisor(StopSignal()).shut_down([Step(name="forever", action=forever, timeout_seconds=0)])

    assert ended == ["cut"]


async def test_a_second_signal_cuts_every_step_short() -> None:
    stop = StopSignal()
    stop.ask()
    stop.ask()

    async def forever() -> None:
        await asyncio.Event().wait()

    steps = [Step(name=name, action=forever, timeout_seconds=3600) for name in ("one", "two")]

    async with asyncio.timeout(10):
        await Supervisor(stop).shut_down(steps)


async def test_a_step_that_must_not_be_left_out_has_its_time_after_a_second_signal() -> None:
    stop = StopSignal()
    stop.ask()
    stop.ask()
    done: list[str] = []

    async def record() -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        done.append("record")

    await Supervisor(stop).shut_down([Step(name="record", action=record, timeout_seconds=60, hurried_seconds=30)])

    assert done == ["record"]


async def test_no_task_outlives_the_shutdown() -> None:
    supervisor = Supervisor(StopSignal())
    supervisor.start([Endless()])

    await supervisor.shut_down([])

    assert [task for task in asyncio.all_tasks() if task.get_name() == "endless"] == []


async def test_a_signal_during_the_start_gives_the_start_up() -> None:
    stop = StopSignal()
    stop.ask()

    assert await stop.unless_asked(asyncio.Event().wait()) is False


async def test_a_start_that_succeeds_is_not_given_up() -> None:
    async def start() -> None:
        return

    assert await StopSignal().unless_asked(start()) is True


async def swallowing(cancellations: int) -> None:
    """As a library may: goes on waiting, so many cancellations long."""
    for _ in range(cancellations):
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    await asyncio.Event().wait()


async def test_what_is_left_is_cancelled_until_it_ends() -> None:
    stubborn = asyncio.create_task(swallowing(LEFTOVER_ROUNDS - 1))
    await asyncio.sleep(0)

    assert await end_leftovers() == []
    assert stubborn.cancelled()


async def test_what_does_not_end_is_named() -> None:
    endless = asyncio.create_task(swallowing(LEFTOVER_ROUNDS), name="endless")
    await asyncio.sleep(0)

    assert await end_leftovers() == ["endless"]
    endless.cancel()
