"""Signs of life while the work moves, and how late the event loop is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from router.application.progress import Line, Progress
from router.bootstrap import watchdog
from router.bootstrap.watchdog import LOG_AGAIN_SECONDS, WINDOW_SECONDS, LoopLag, Watchdog, Worst
from router.telemetry.metrics import Metrics


class Scripted(Progress):
    """Says at each look what it was given; ends the test after the last."""

    def __init__(self, looks: list[list[str]], end: Callable[[], None]) -> None:
        super().__init__([Line(name="intake", has_work=lambda: False, done=lambda: 0)], lambda: True)
        self._looks = looks
        self._end = end

    def look(self, now: float) -> list[str]:
        if len(self._looks) == 1:
            self._end()
        return self._looks.pop(0)


async def test_no_sign_of_life_is_given_while_work_stalls_and_it_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", 0)
    signs: list[str] = []
    ended = asyncio.Event()
    looks = [[], ["intake"], ["intake"], ["intake", "retries"], ["retries"], []]
    progress = Scripted(list(looks), ended.set)

    with capture_logs() as log:
        running = asyncio.create_task(Watchdog(progress, signs.append, None).run())
        await ended.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert signs == ["WATCHDOG=1", "WATCHDOG=1"]
    assert [(line["event"], line["log_level"], line["parts"]) for line in log] == [
        ("stalled", "critical", ["intake"]),
        ("stalled", "critical", ["intake", "retries"]),
        ("moving_again", "warning", ["intake"]),
        ("moving_again", "warning", ["retries"]),
    ]


def test_the_lag_that_is_shown_is_the_worst_of_the_window() -> None:
    worst = Worst()
    shown = [worst.add(value, now=now) for now, value in [(0, 0.1), (1, 3.0), (2, 0.2), (3, 1.0), (4, 0.1)]]
    assert shown == [0.1, 3.0, 3.0, 3.0, 3.0]

    assert worst.add(0.0, now=1 + WINDOW_SECONDS) == 3.0
    assert worst.add(0.0, now=2 + WINDOW_SECONDS) == 1.0
    assert worst.add(0.0, now=10 + 2 * WINDOW_SECONDS) == 0.0


def test_late_turns_are_counted_each_and_told_now_and_then() -> None:
    metrics = Metrics("test")
    lag = LoopLag(metrics)

    with capture_logs() as log:
        for now, late in [(0.0, 0.9), (1.0, 2.04), (2.0, 5.0), (1.0 + LOG_AGAIN_SECONDS, 1.5)]:
            lag.note(late, now=now)

    assert [(line["event"], line["seconds"]) for line in log] == [
        ("event_loop_stalled", 2.0),
        ("event_loop_stalled", 1.5),
    ]
    assert metrics.registry.get_sample_value("webhook_router_event_loop_stalls_total") == 3
    assert metrics.registry.get_sample_value("webhook_router_event_loop_lag_seconds") == 5.0
