"""What is a stall, and what only looks like one."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from router.application.progress import MAX_STEP_SECONDS, STALL_SECONDS, Line, Progress

LOOK_SECONDS = 5.0
HOUR = 3600.0


@dataclass
class Work:
    """Two lines of work and their surroundings."""

    has_work: bool = True
    done: int = 0
    may_work: bool = True
    now: float = 1000.0
    progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        lines = [
            Line(name="intake", has_work=lambda: self.has_work, done=lambda: self.done),
            Line(name="idle", has_work=lambda: False, done=lambda: 0),
        ]
        self.progress = Progress(lines, lambda: self.may_work)
        self.progress.look(self.now)

    def look(self, *, seconds: float = LOOK_SECONDS) -> list[str]:
        self.now += seconds
        return list(self.progress.look(self.now))

    def looks(self, seconds: float) -> list[str]:
        """What the last look of that time says."""
        found: list[str] = []
        for _ in range(round(seconds / LOOK_SECONDS)):
            found = self.look()
        return found


def test_work_that_does_not_move_is_a_stall_after_its_time_and_not_before() -> None:
    work = Work()

    assert work.looks(STALL_SECONDS - LOOK_SECONDS) == []
    assert work.look() == ["intake"]
    assert work.progress.stalled == ["intake"]


def test_one_step_is_enough_to_be_well_again() -> None:
    work = Work()
    assert work.looks(STALL_SECONDS) == ["intake"]

    work.done += 1

    assert work.look() == []
    assert work.looks(STALL_SECONDS - LOOK_SECONDS) == []


@pytest.mark.parametrize("pause", ["has_work", "may_work"])
def test_what_has_no_work_or_may_not_work_does_not_stall_and_begins_to_count_afterwards(pause: str) -> None:
    work = Work()
    work.looks(STALL_SECONDS - LOOK_SECONDS)

    setattr(work, pause, False)
    assert work.looks(HOUR) == []
    setattr(work, pause, True)

    assert work.looks(STALL_SECONDS - LOOK_SECONDS) == []
    assert work.look() == ["intake"]


def test_a_process_that_was_stopped_for_an_hour_and_goes_on_is_not_stalled() -> None:
    work = Work()
    work.look()

    assert work.look(seconds=HOUR) == []
    work.done += 1
    assert work.look() == []


def test_a_process_that_is_stopped_again_and_again_must_be_looked_at_often_before_it_is_stalled() -> None:
    work = Work()
    looks = 0
    while not work.look(seconds=HOUR):
        looks += 1

    assert looks + 1 == STALL_SECONDS / MAX_STEP_SECONDS


def test_without_lines_there_is_no_stall() -> None:
    progress = Progress([], lambda: True)
    progress.look(0)

    assert list(progress.look(HOUR)) == []
