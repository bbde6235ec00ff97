"""One run of the demo, from the first process that is started to the last that is stopped.

Puts the parts together, in order: broker, store, customers, router, platform; then back. Handles signals.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, NoReturn

from router.bootstrap.store import open_store
from router.daemon import StopSignal
from router.demo.board import Board
from router.demo.broker import Broker
from router.demo.crm import Crm
from router.demo.customers import Customer, make_customers
from router.demo.ledger import Ledger
from router.demo.process import RouterProcess
from router.demo.publishing import Publishing
from router.demo.screen import Screen
from router.demo.setup import describe, enrol
from router.demo.summary import Answers, Summary, summarise
from router.demo.telephony import Platform
from router.demo.watching import Watch
from router.domain.errors import DependencyUnavailable, RouterError
from router.settings import load_settings
from router.telemetry.log import configure_logging
from router.web.receiver import HOST, Receiver

REFRESH_SECONDS: Final = 0.25
EXIT_INTERRUPTED: Final = 130
_KEPT_BY_NOBODY: Final = ("store", "rabbitmq")
"""What a run leaves in the demo's folder to be looked at, and the next one removes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for. `rate` is messages per second; without `seconds` it goes on until it is stopped."""

    seconds: float | None = None
    rate: float = 5.0
    accounts: int = 6
    seed: int


@dataclass(slots=True, kw_only=True)
class Show:
    """One run on a broker that is there. `directory` is the demo's own."""

    options: Options
    directory: Path
    broker: Broker
    screen: Screen
    _stop: StopSignal = field(init=False)
    _ledger: Ledger = field(default_factory=Ledger)
    _customers: tuple[Customer, ...] = field(init=False)
    _random: Random = field(init=False)
    _router: RouterProcess = field(init=False)

    async def run(self) -> Summary | None:
        """The summary; None where a stop was asked for before anything could be shown.

        Raises RouterError where a part does not come up.
        """
        self._stop = StopSignal()
        self._handle_signals()
        async with AsyncExitStack() as resources:
            if not await self._stop.unless_asked(self._start(resources)):
                return None
            board = Board(ledger=self._ledger, customers=self._customers, total_seconds=self.options.seconds)
            self._crm.watch(board.show_visit)
            self.screen.open(board)
            resources.callback(self.screen.close)
            answers = await self._play(board)
            self.screen.close()
            with self.screen.busy("stopping the router"):
                return await self._end(board, answers)
