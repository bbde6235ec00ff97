"""Runs a module and samples what its CPU goes into, by the part of the code that is at work. Touches signals, one file.

    python -m bench.profiled OUT MODULE ARGUMENTS…

Counts from SIGUSR1 on, and writes OUT at SIGUSR2: seconds by part, as JSON.
"""

from __future__ import annotations

import json
import runpy
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Final

EVERY_SECONDS: Final = 0.002
"""Of the process's CPU time."""
LOOP: Final = "event loop, rest"
THREADS: Final = "store, in threads"
PARTS: Final[dict[str, tuple[str, ...]]] = {
    "decode": ("/router/adapters/rabbitmq/codec", "/router/domain/event", "/router/domain/fields", "/phonenumbers/"),
    "broker": ("/router/adapters/rabbitmq/", "/aio_pika/", "/aiormq/", "/pamqp/"),
    "store": ("/router/adapters/mongo/", "/motor/", "/pymongo/", "/bson/"),
    "signature": ("/router/domain/signing", "/hmac.py"),
    "HTTP": ("/router/adapters/http/", "/aiohttp/", "/yarl/", "/multidict/"),
    "log": ("/router/telemetry/log", "/router/telemetry/redact", "/router/telemetry/pseudonyms", "/structlog/"),
    "metrics": ("/router/telemetry/", "/prometheus_client/"),
    "routing, lanes": ("/router/application/", "/router/domain/", "/router/ports/"),
}
"""Each by a piece of the path of its files; the first that fits counts."""


def part_of(file: str) -> str | None:
    return next((part for part, pieces in PARTS.items() if any(piece in file for piece in pieces)), None)


def part_at(frame: FrameType | None) -> str:
    """The part that the innermost frame of any belongs to."""
    while frame is not None:
        if part := part_of(frame.f_code.co_filename):
            return part
        frame = frame.f_back
    return LOOP


class Sampler:
    """CPU time of the main thread by part. What the process used beyond is that of its threads: the driver's."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._thread = self._process = self._last = 0.0

    def begin(self, *_: object) -> None:
        self._seconds.clear()
        self._thread = self._last = time.thread_time()
        self._process = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS, EVERY_SECONDS)

    def sample(self, _: int, frame: FrameType | None) -> None:
        # The timer counts all threads, and its signal reaches the main one: what that has used since is what counts.
        now = time.thread_time()
        self._seconds[part_at(frame)] += now - self._last
        self._last = now

    def found(self) -> dict[str, float]:
        signal.setitimer(signal.ITIMER_PROF, 0)
        threads = time.process_time() - self._process - (time.thread_time() - self._thread)
        return {**self._seconds, THREADS: max(0.0, threads)}


def main() -> None:
    out, module = Path(sys.argv[1]), sys.argv[2]
    sampler = Sampler()
    signal.signal(signal.SIGPROF, sampler.sample)
    signal.signal(signal.SIGUSR1, sampler.begin)
    signal.signal(signal.SIGUSR2, lambda *_: out.write_text(json.dumps(sampler.found())))
    sys.argv[:] = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
