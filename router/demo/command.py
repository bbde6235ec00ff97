"""The demo command: what was asked for becomes one run and an exit code. Touches the demo's folder and stderr."""

from __future__ import annotations

import asyncio
import fcntl
import secrets
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from router.demo.broker import open_broker
from router.demo.process import RouterDidNotStartError
from router.demo.report import print_summary
from router.demo.screen import Screen
from router.demo.show import EXIT_INTERRUPTED, Options, Show
from router.demo.summary import Summary
from router.demo.terminal import choose_screen
from router.domain.errors import RouterError
from router.settings import Settings, describe, load_settings
from router.telemetry.log import configure_logging

FOLDER: Final = "demo"
DEFAULT_RATE: Final = 5.0
DEFAULT_ACCOUNTS: Final = 6
EXIT_FAILED: Final = 1
_FORMER_RUN: Final = ("store", "rabbitmq")
_SWITCH_SECONDS: Final = 0.001


class DemoIsRunningError(RouterError):
    """Another demo has the folder."""


def run(
    *,
    seconds: float | None = None,
    rate: float | None = None,
    accounts: int | None = None,
    as_json: bool = False,
    seed: int | None = None,
    config: Path | None = None,
) -> int:
    """Run the demonstration to its end; None leaves a choice to it. Returns the exit code.

    Raises SettingsError, and DependencyUnavailable where there is no broker or no store.
    """
    options = Options(
        seconds=seconds,
        rate=DEFAULT_RATE if rate is None else rate,
        accounts=DEFAULT_ACCOUNTS if accounts is None else accounts,
        seed=secrets.randbelow(10_000) if seed is None else seed,
    )
    settings = load_settings(config=config)
    # While the screen is drawn on one thread, another measures delays: let it have its turn soon.
    sys.setswitchinterval(_SWITCH_SECONDS)
    screen = choose_screen(as_json=as_json)
    try:
        with _signals_interrupt(), _own_folder(settings.data_dir / FOLDER) as directory:
            summary = _run(options, settings, directory, screen)
    except KeyboardInterrupt:
        summary = None
    except RouterDidNotStartError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    finally:
        screen.close()
    if summary is None:
        return EXIT_INTERRUPTED
    print_summary(summary, as_json=as_json)
    return EXIT_FAILED if summary.problems else 0


def _run(options: Options, settings: Settings, directory: Path, screen: Screen) -> Summary | None:
    length = "until Ctrl-C" if options.seconds is None else f"for {options.seconds:g} s"
    screen.title(f"demo: {options.rate:g} messages per second {length}, seed {options.seed}")
    with (directory / "demo.log").open("w") as log:
        configure_logging(format="json", level="warning", stream=log)
        with open_broker(_given_broker(settings), directory, screen.busy) as broker:
            screen.step("broker", f"{broker.origin} ({broker.why})")
            return asyncio.run(Show(options, directory, broker, screen).run())


def _given_broker(settings: Settings) -> str | None:
    """The broker that somebody wrote down; None where the setting is the default."""
    origins = {setting.key: setting.origin for setting in describe(settings)}
    return None if origins["amqp.url"] == "default" else settings.amqp.url.get_secret_value()


@contextmanager
def _own_folder(directory: Path) -> Iterator[Path]:
    """The folder, held against other demos, without what a former run left. What this one leaves can be looked at."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoIsRunningError(
                f"another demo is running in {directory}: stop it, or set ROUTER_DATA_DIR to another folder"
            ) from None
        for name in _FORMER_RUN:
            shutil.rmtree(directory / name, ignore_errors=True)
        yield directory


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end us as Ctrl-C does, wherever no event loop handles signals."""
    former = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
