"""What every fault needs: trials, servers that may be broken, and the report at the end.

`pytest tests/faults` runs every fault; a run that names no fault leaves all but the quick ones out.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pymongo
import pytest
import pytest_asyncio

from router.adapters.embedded.broker import RabbitNode
from tests.support.breakable import BreakableStore, apart
from tests.support.fault_checker import Fault, Trial
from tests.support.fault_report import put_between_markers, read_rows, read_versions, report, table, write_versions
from tests.support.router_process import Platform
from tests.support.servers import Broker, unique

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "faults.md"
TIMEOUT_SECONDS = 240
ROWS = pytest.StashKey[Path]()
STARTED_AT = pytest.StashKey[float]()

MakeTrial = Callable[..., Awaitable[Trial]]


# --- which faults, and the report ------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", {}).get("fault_rows")
    config.stash[ROWS] = Path(given or tempfile.mkdtemp(prefix="fault-rows-"))
    config.stash[STARTED_AT] = time.monotonic()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["fault_rows"] = str(node.config.stash[ROWS])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    faults = [item for item in items if HERE in item.path.parents]
    for item in faults:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))
    if not any("faults" in Path(argument.partition("::")[0]).parts for argument in config.args):
        left_out = [item for item in faults if item.get_closest_marker("quick") is None]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    rows = read_rows(config.stash[ROWS])
    if hasattr(config, "workerinput") or not rows:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line(table(rows))
    if exitstatus == pytest.ExitCode.OK and is_whole(config):
        minutes = (time.monotonic() - config.stash[STARTED_AT]) / 60
        text = report(rows, read_versions(config.stash[ROWS]), command="make faults", minutes=minutes)
        put_between_markers(PAGE, text)
        terminalreporter.write_line(f"written to {PAGE.relative_to(HERE.parents[1])}")


def is_whole(config: pytest.Config) -> bool:
    """Whether every fault was to run."""
    option = config.option
    chosen = (option.keyword, option.markexpr, option.deselect, getattr(option, "lf", False), option.collectonly)
    return not any(chosen) and {Path(argument).resolve() for argument in config.args} == {HERE}


# --- servers ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _breakable_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    node = RabbitNode(directory=tmp_path_factory.mktemp("breakable-node"))
    try:
        yield node
    finally:
        node.stop()


@pytest_asyncio.fixture
async def own_broker(_breakable_node: RabbitNode) -> RabbitNode:
    """A broker that the test may do anything to: the same node for a module, running at the start of each test."""
    if not _breakable_node.is_running:
        await apart(_breakable_node.start)
    return _breakable_node


@pytest_asyncio.fixture
async def own_store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BreakableStore]:
    """A store that the test may do anything to."""
    store = await BreakableStore.start_in(tmp_path_factory.mktemp("breakable-store"))
    yield store
    await store.close()


# --- trials ----------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def make_trial(
    request: pytest.FixtureRequest, rabbit: Broker, mongo_url: str, tmp_path: Path
) -> AsyncIterator[MakeTrial]:
    """Makes the trial of the test's `fault` marker, on the run's servers or on those that it is given."""
    marker = request.node.get_closest_marker("fault")
    assert marker is not None, "which fault is it? @pytest.mark.fault(number, what is done)"
    opened: list[tuple[Trial, pymongo.MongoClient[dict[str, Any]]]] = []

    async def make(*, broker: RabbitNode | None = None, store: BreakableStore | None = None, **platform: Any) -> Trial:
        amqp_url = broker.url if broker else rabbit.url
        store_url = store.url if store else mongo_url
        client = pymongo.MongoClient[dict[str, Any]](store_url, tz_aware=True, serverSelectionTimeoutMS=2_000)
        fault = Fault(number=marker.args[0], text=marker.args[1].format(**_parameters(request)))
        trial = Trial(
            fault=fault,
            test=request.node.nodeid,
            platform=Platform(amqp_url=amqp_url, mongo_url=store_url, database=client[unique("test_")], **platform),
            directory=tmp_path,
            rows=request.config.stash[ROWS],
        )
        opened.append((trial, client))
        await trial.open()
        _note_versions(request.config, rabbit, client)
        return trial

    yield make
    for trial, client in opened:
        await trial.close()
        client.close()


def _parameters(request: pytest.FixtureRequest) -> dict[str, Any]:
    callspec = getattr(request.node, "callspec", None)
    return dict(callspec.params) if callspec else {}


def _note_versions(config: pytest.Config, rabbit: Broker, client: pymongo.MongoClient[dict[str, Any]]) -> None:
    rows = config.stash[ROWS]
    if not read_versions(rows):
        broker = rabbit.node.ctl("version").strip() if rabbit.node else "of a given URL"
        build = client.admin.command("buildInfo")
        store = f"{version('secantusdb')} (speaks MongoDB {build['version']})" if rabbit.node else build["version"]
        write_versions(rows, RabbitMQ=broker, SecantusDB=store)
