"""Looks at the store and changes nothing: who it is, how its members are, whether a majority can confirm a write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from router.adapters.mongo.driver import Database, seen
from router.domain.errors import ConfigurationRefused, DependencyUnavailable

_DATA_BEARING: Final = frozenset({1, 2})
"""States of members that hold the data and can confirm a write: primary and secondary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSeen:
    """`replica_set` is empty for a standalone server and a sharded cluster. `members` and `arbiters` are those that the
    server names; `healthy` and `majority` are None where the user may not ask."""

    version: str
    is_embedded: bool
    is_sharded: bool
    is_writable: bool
    replica_set: str
    members: int
    arbiters: int
    healthy: int | None
    majority: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePeers:
    """Where `mongo.url` leads. `lookup` is the name that is asked for the hosts of a mongodb+srv:// URL."""

    hosts: tuple[tuple[str, int], ...]
    tls: bool
    ca_file: str | None
    verifies: bool


async def inspect(database: Database) -> StoreSeen:
    """Raises DependencyUnavailable where it does not answer."""
    try:
        hello = await database.command({"hello": 1})
        build = await database.command({"buildInfo": 1})
    except PyMongoError as error:
        raise DependencyUnavailable("MongoDB cannot be reached", seen=seen(error)) from None
    status = await _replica_set_status(database) if hello.get("setName") else None
    return StoreSeen(
        version=str(build.get("version", "")),
        is_embedded="secantusVersion" in build,
        is_sharded=hello.get("msg") == "isdbgrid",
        is_writable=bool(hello.get("isWritablePrimary")),
        replica_set=str(hello.get("setName", "")),
        members=len(hello.get("hosts", [])) + len(hello.get("passives", [])),
        arbiters=len(hello.get("arbiters", [])),
        healthy=_healthy(status) if status is not None else None,
        majority=int(status["writeMajorityCount"]) if status is not None and "writeMajorityCount" in status else None,
    )


async def _replica_set_status(database: Database) -> dict[str, Any] | None:
    """None where the user has no right to ask (clusterMonitor)."""
    try:
        return dict(await database.admin_command({"replSetGetStatus": 1}))
    except PyMongoError:
        return None


def _healthy(status: dict[str, Any]) -> int:
    members = status.get("members", [])
    return sum(1 for each in members if each.get("health", 1) == 1 and each.get("state") in _DATA_BEARING)


def peers_of(url: str) -> StorePeers:
    """The hosts of a URL; asks DNS for those of mongodb+srv://, and waits for the answer. Raises
    ConfigurationRefused."""
    try:
        parsed = parse_uri(url, validate=True, warn=False)
    except (PyMongoError, ValueError) as error:
        raise ConfigurationRefused("mongo.url cannot be followed", seen=type(error).__name__) from None
    options = parsed["options"]
    return StorePeers(
        hosts=tuple((host, port or 0) for host, port in parsed["nodelist"]),
        tls=bool(options.get("tls")),
        ca_file=options.get("tlsCAFile"),
        verifies=not (options.get("tlsAllowInvalidCertificates") or options.get("tlsInsecure")),
    )
