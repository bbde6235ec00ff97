"""Finds the demo a RabbitMQ: the given one, a running one, one in Docker, or a private node of the installed package.

Decides which, and remembers why not the others. Touches processes, loopback ports and the demo's folder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

import router
from router.adapters.embedded.broker import RabbitNode, find_rabbitmq
from router.adapters.embedded.errors import EmbeddedError
from router.bootstrap.access import open_publisher
from router.demo.compose import ComposeBroker, missing_part
from router.domain.errors import ConfigurationRefused, DependencyUnavailable, RouterError
from router.settings import Settings
from router.settings.sections import AmqpSettings

LOCAL_URL: Final = "amqp://guest:guest@127.0.0.1:5672/"
PROBE_SECONDS: Final = 3.0

Busy = Callable[[str], AbstractContextManager[None]]
"""Says what is going on while it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A RabbitMQ that answers. `origin` says in a few words which one it is, and `why` why that one."""

    url: str = field(repr=False)
    origin: str
    why: str
    url_is_secret: bool = False
    stop: Callable[[], None] | None = field(default=None, repr=False)
    """Ends it; None where it is not ours."""


@dataclass(frozen=True, slots=True)
class NotHere:
    """There is no broker of this kind, for this reason."""

    reason: str


Way = Callable[[Path, Busy], Broker | NotHere]
"""One way to a broker, given the demo's folder and a way to say what takes long."""


@contextmanager
def open_broker(
    given_url: str | None, directory: Path, busy: Busy, ways: Sequence[Way] | None = None
) -> Iterator[Broker]:
    """A broker for the length of the demo; what was started for it is stopped.

    Raises DependencyUnavailable, with what to do, where there is none; ConfigurationRefused where the given one
    refuses us.
    """
    broker = _given(given_url) if given_url else _first_of(WAYS if ways is None else ways, directory, busy)
    try:
        yield broker
    finally:
        if broker.stop is not None:
            with busy("stopping RabbitMQ"):
                broker.stop()


def _first_of(ways: Sequence[Way], directory: Path, busy: Busy) -> Broker:
    reasons: list[str] = []
    for way in ways:
        found = way(directory, busy)
        if isinstance(found, Broker):
            return replace(found, why=found.why or "; ".join(reasons))
        reasons.append(found.reason)
    raise DependencyUnavailable(
        f"the demo needs a RabbitMQ and found none ({'; '.join(reasons)}): run `apt-get install rabbitmq-server`, "
        "start Docker, or set ROUTER_AMQP__URL to the URL of a broker"
    )


def _given(url: str) -> Broker:
    """The broker of the configuration; no other one will do."""
    where = address(url)
    refusal = probe(url)
    if isinstance(refusal, DependencyUnavailable):
        raise DependencyUnavailable(
            f"no RabbitMQ answers at {where}, which amqp.url (ROUTER_AMQP__URL) names: start it there, "
            "or unset ROUTER_AMQP__URL and the demo finds one itself"
        )
    if refusal is not None:
        raise refusal
    return Broker(
        url=url, origin=f"RabbitMQ at {where}", why="named by amqp.url (ROUTER_AMQP__URL)", url_is_secret=True
    )


# --- the ways --------------------------------------------------------------------------------------


def running(_: Path, __: Busy) -> Broker | NotHere:
    """One that was there before us, with the user that every new RabbitMQ has."""
    where = address(LOCAL_URL)
    refusal = probe(LOCAL_URL)
    if refusal is None:
        return Broker(url=LOCAL_URL, origin=f"RabbitMQ at {where}", why="runs already, and lets guest in")
    if isinstance(refusal, ConfigurationRefused):
        return NotHere(f"the RabbitMQ at {where} does not let guest in")
    return NotHere(f"no RabbitMQ at {where}")


def in_docker(directory: Path, busy: Busy) -> Broker | NotHere:
    """One from docker-compose.yml, where an engine runs."""
    # Beside the package is the project's root, in a checkout only: anybody else's compose file is not ours to start.
    project = Path(router.__file__).resolve().parents[1]
    missing = missing_part(project)
    if missing is not None:
        return NotHere(missing)
    compose = ComposeBroker(project=project, directory=directory)
    try:
        with busy("starting RabbitMQ in Docker; the first time its image is fetched"):
            compose.start(lambda: probe(compose.url) is None)
    except EmbeddedError as error:
        return NotHere(str(error))
    return Broker(url=compose.url, origin="RabbitMQ in a container, by docker-compose.yml", why="", stop=compose.stop)


def private_node(directory: Path, busy: Busy) -> Broker | NotHere:
    """One made from the installed package. Call it on the main thread, with whose end the kernel ends the node."""
    if find_rabbitmq() is None:
        return NotHere("rabbitmq-server is not installed")
    node = RabbitNode(directory=directory / "rabbitmq")
    try:
        with busy("starting a RabbitMQ of our own, which takes some seconds"):
            node.start()
    except EmbeddedError as error:
        node.stop()
        return NotHere(str(error))
    except BaseException:
        node.stop()
        raise
    return Broker(url=node.url, origin=f"own RabbitMQ node at {address(node.url)}", why="", stop=node.stop)


WAYS: Final[Sequence[Way]] = (running, in_docker, private_node)


def probe(url: str) -> RouterError | None:
    """Connect once. None where the broker lets us in, else what keeps us out."""
    settings = Settings(amqp=AmqpSettings(url=SecretStr(url), connect_timeout_seconds=PROBE_SECONDS))

    async def connect() -> None:
        async with open_publisher(settings):
            pass

    try:
        asyncio.run(connect())
    except (ConfigurationRefused, DependencyUnavailable) as error:
        return error
    return None


def address(url: str) -> str:
    """Host and port of a URL: what may be shown of it."""
    parts = urlsplit(url)
    port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
    host = parts.hostname or "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
