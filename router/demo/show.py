"""One run of the demo on a broker that is there: store, customers, router and platform, in this order; then back.

Puts the parts together and handles signals. Touches nothing by itself.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from router.application.audit import Auditor
from router.bootstrap import convert
from router.bootstrap.store import open_store
from router.daemon import StopSignal
from router.demo.board import Board
from router.demo.broker import Broker
from router.demo.crm import Crm
from router.demo.customers import make_customers
from router.demo.ledger import Ledger
from router.demo.process import RouterProcess
from router.demo.publishing import Publishing
from router.demo.screen import Screen
from router.demo.setup import describe, enrol
from router.demo.summary import Answers, Summary, summarise
from router.demo.telephony import Platform
from router.demo.watching import Watch
from router.settings import Settings, load_settings
from router.settings.layers import ENV_CONFIG, ENV_PREFIX, ENV_TEST_PREFIX
from router.web.receiver import HOST, Receiver

REFRESH_SECONDS: Final = 0.25
EXIT_INTERRUPTED: Final = 130
PROGRAM: Final = "webhook-router"
_ACCOUNTS_FROM: Final = 10_000
_ACCOUNT_IDS: Final = 80_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for. `rate` is messages per second; without `seconds` it goes on until it is stopped."""

    seconds: float | None
    rate: float
    accounts: int
    seed: int


class Show:
    """One run. `directory` is the demo's own folder."""

    def __init__(self, options: Options, directory: Path, broker: Broker, screen: Screen) -> None:
        random = Random(options.seed)  # noqa: S311 - a story, no secret
        # Other accounts every time: what an earlier run left in a queue must not reach this one's customers.
        first_account = _ACCOUNTS_FROM + int(time.time()) % _ACCOUNT_IDS
        customers = make_customers(random, options.accounts, first_account=first_account)
        self._options = options
        self._screen = screen
        self._broker = broker
        self._ledger = Ledger()
        self._board = Board(ledger=self._ledger, customers=customers, total_seconds=options.seconds)
        self._crm = Crm(random, self._ledger, self._board.show_visit)
        self._platform = Platform(random, customers)
        self._router = RouterProcess.prepare(directory, broker.url, url_is_secret=broker.url_is_secret)
        self._watch = Watch(self._router.api, self._board)
        self._stop = StopSignal()
        self._over = asyncio.Event()

    async def run(self) -> Summary | None:
        """The summary; None where a stop was asked for before there was anything to sum up.

        Raises RouterError where a part does not come up.
        """
        self._handle_signals()
        async with AsyncExitStack() as resources:
            if not await self._stop.unless_asked(self._start(resources)):
                return None
            self._board.started_at = time.monotonic()
            self._screen.open(self._board)
            resources.callback(self._screen.close)
            answers = await self._play()
            self._screen.close()
            return await self._end(answers)

    # --- signals ---

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._asked_to_stop)

    def _asked_to_stop(self) -> None:
        if self._stop.asked.is_set():
            self._screen.close()
            sys.stderr.flush()
            # Without any clean-up: the kernel ends our children with us.
            os._exit(EXIT_INTERRUPTED)
        self._stop.ask()
        self._over.set()

    # --- the way up ---

    async def _start(self, resources: AsyncExitStack) -> None:
        settings = load_settings(config=self._router.config, environ=self._router.environment())
        await self._open_store(resources, settings)
        resources.push_async_callback(self._router.stop)
        with self._screen.busy("starting the router"):
            self._router.start()
            took = await self._router.wait_until_ready()
        self._screen.step(
            "router", f"ready after {took:.1f} s, process {self._router.pid}; log: {shown(self._router.log)}"
        )
        api = self._router.api
        self._screen.step(
            "read API",
            f"{api.url}; while it runs, try",
            paste=(
                f"curl -s -H 'Authorization: Bearer {api.token}' '{api.url}/v1/deliveries?limit=5'",
                f"{unset_others()}{program()} --config {shown(self._router.config)} deliveries list",
            ),
        )

    async def _open_store(self, resources: AsyncExitStack, settings: Settings) -> None:
        """The store, with the customers in it before the router reads them. It ends after the router."""
        receiver = Receiver(self._crm.answer)
        await receiver.start()
        resources.push_async_callback(receiver.close)
        dead_port = resources.enter_context(unused_port())
        with self._screen.busy("starting the store"):
            store = await resources.enter_async_context(open_store(settings))
        self._screen.step("store", f"embedded, data in {shown(settings.data_dir)}")
        self._crm.secrets = await enrol(
            store.registry,
            self._board.customers,
            live_url=receiver.url,
            dead_url=f"http://{HOST}:{dead_port.getsockname()[1]}",
            country=settings.numbers.default_country,
            egress=convert.egress_policy(settings),
            audit=Auditor(trail=store.audit, actor="demo", now=store.now),
            now=store.now(),
        )
        self._screen.step("customers", describe(self._board.customers))

    # --- the show ---

    async def _play(self) -> Answers | None:
        """Publish until it is over, then wait for what is under way. Returns what the router says in the end."""
        settings = load_settings(config=self._router.config, environ=self._router.environment())
        publishing = Publishing(settings, self._platform, self._ledger, self._options.rate)
        async with asyncio.TaskGroup() as group:
            painting = group.create_task(self._paint(), name="paint")
            watching = group.create_task(self._watch.run(), name="watch")
            await publishing.run(self._over)
            self._board.phase = "stopped publishing"
            self._board.stopped_at = time.monotonic()
            watching.cancel()
            await self._watch.settle(self._router)
            answers = await self._watch.answers()
            painting.cancel()
        return answers

    async def _paint(self) -> None:
        seconds = self._options.seconds
        while True:
            if self._router.exit_code is not None or (seconds is not None and self._board.elapsed_seconds >= seconds):
                self._over.set()
            await self._screen.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    # --- the way back ---

    async def _end(self, answers: Answers | None) -> Summary:
        died = self._router.exit_code is not None
        with self._screen.busy("stopping the router"):
            exit_code = await self._router.stop()
        dead_hooks = [hook.id for customer in self._board.customers for hook in customer.hooks if hook.dead]
        return summarise(
            self._ledger,
            answers,
            dead_hooks=dead_hooks,
            seconds=self._board.publishing_seconds,
            seed=self._options.seed,
            router_exit_code=exit_code,
            router_said=self._router.explain() if died else "",
        )


def unused_port() -> socket.socket:
    """A socket whose port refuses every connection, and that nobody else can take meanwhile."""
    holder = socket.socket()
    holder.bind((HOST, 0))
    return holder


def unset_others() -> str:
    """What goes before a command so that nothing in the environment goes over the demo's configuration file."""
    kept = (ENV_CONFIG, "ROUTER_AMQP__URL")
    names = [name for name, value in os.environ.items() if name.startswith(ENV_PREFIX) and value and name not in kept]
    return "".join(f"{name}= " for name in sorted(names) if not name.startswith(ENV_TEST_PREFIX))


def program() -> str:
    """How this program is started from where we are: its name where the shell finds it, else the way we came."""
    script = Path(sys.argv[0])
    if script.name != PROGRAM:
        return f"{shown(Path(sys.executable))} -m router"
    found = shutil.which(PROGRAM)
    return PROGRAM if found and script.exists() and Path(found).samefile(script) else shown(script)


def shown(path: Path) -> str:
    """A path as short as it can be pasted."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)
