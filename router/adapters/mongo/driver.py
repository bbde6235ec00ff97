"""The seam between the two drivers, Motor and PyMongo Async: every call that differs between them is here.
Opens and closes connections; knows no collection.

Motor runs each call in a thread of a process-wide pool, and a cancelled call goes on in its thread. So timeouts
are short, and every write that we make may be repeated.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal

from bson.codec_options import CodecOptions, DatetimeConversion
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient, WriteConcern
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)

from router.domain.errors import ConfigurationRefused, DependencyUnavailable

DriverName = Literal["motor", "pymongo"]

# Short, so that calls that hang cannot fill Motor's pool of threads for long.
SERVER_SELECTION_TIMEOUT_MS: Final = 3_000
CONNECT_TIMEOUT_MS: Final = 3_000
SOCKET_TIMEOUT_MS: Final = 10_000
WRITE_TIMEOUT_MS: Final = 8_000
MAX_READ_TIME_MS: Final = 8_000
"""`maxTimeMS` of every read."""
MAX_LOAD_TIME_MS: Final = 60_000
"""That of the reads that take whole collections of definitions into memory."""

# Other programs write into our collections: a date or a text that Python cannot hold must not stop the reading.
_CODEC_OPTIONS: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True,
    tzinfo=UTC,
    datetime_conversion=DatetimeConversion.DATETIME_CLAMP,
    unicode_decode_error_handler="replace",
)
UNJOURNALED: Final = WriteConcern(w="majority", wtimeout=WRITE_TIMEOUT_MS)
"""For what is sent again if a crash of the store forgets it. A replica set journals it before it answers all the same
(`writeConcernMajorityJournalDefault`); a single server answers sooner."""
_AUTHENTICATION_FAILED: Final = {18, 13}


class Database:
    """A database handle: `[name]` is a collection of whichever driver was chosen."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._database = client.get_database(
            name,
            codec_options=_CODEC_OPTIONS,
            write_concern=WriteConcern(w="majority", j=True, wtimeout=WRITE_TIMEOUT_MS),
        )

    def __getitem__(self, collection: str) -> Any:
        return self._database[collection]

    async def command(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        result: Mapping[str, Any] = await self._database.command(command)
        return result

    async def admin_command(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        result: Mapping[str, Any] = await self._client.admin.command(command)
        return result

    async def server_time(self) -> datetime:
        """The server's clock, UTC. Raises DependencyUnavailable where it does not answer."""
        try:
            answer = await self._client.admin.command({"hello": 1})
        except PyMongoError as error:
            raise DependencyUnavailable("MongoDB cannot be reached", seen=seen(error)) from None
        moment: datetime = answer["localTime"]
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    async def aggregate(
        self, collection: str, pipeline: Sequence[Mapping[str, Any]], **options: Any
    ) -> list[dict[str, Any]]:
        # Motor returns a cursor, PyMongo Async a coroutine of one.
        cursor = self._database[collection].aggregate(pipeline, maxTimeMS=MAX_READ_TIME_MS, **options)
        if inspect.isawaitable(cursor):
            cursor = await cursor
        return [document async for document in cursor]

    @asynccontextmanager
    async def watch(self, collection: str, pipeline: Sequence[Mapping[str, Any]], **options: Any) -> AsyncIterator[Any]:
        stream = self._database[collection].watch(pipeline, **options)
        if inspect.isawaitable(stream):
            stream = await stream
        async with stream:
            yield stream

    async def close(self) -> None:
        closing = self._client.close()
        if inspect.isawaitable(closing):
            await closing


def open_database(url: str, name: str, driver: DriverName) -> Database:
    """A handle on a database; connects lazily. Raises ConfigurationRefused where the URL is wrong."""
    options: dict[str, Any] = {
        "serverSelectionTimeoutMS": SERVER_SELECTION_TIMEOUT_MS,
        "connectTimeoutMS": CONNECT_TIMEOUT_MS,
        "socketTimeoutMS": SOCKET_TIMEOUT_MS,
        "appname": "webhook-router",
    }
    client_class: Any = AsyncIOMotorClient if driver == "motor" else AsyncMongoClient
    try:
        return Database(client_class(url, **options), name)
    except (InvalidURI, ConfigurationError, ValueError) as error:
        # The driver's text may quote the URL, which holds a password.
        raise ConfigurationRefused(f"mongo.url is not a usable MongoDB URL ({type(error).__name__})") from None


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later without anybody changing anything."""
    if isinstance(error, ConnectionFailure):
        return True
    if isinstance(error, OperationFailure):
        return error.code not in _AUTHENTICATION_FAILED
    return isinstance(error, PyMongoError)


async def check_connection(database: Database) -> None:
    """Raises DependencyUnavailable or ConfigurationRefused with one clear sentence."""
    try:
        await database.command({"ping": 1})
    except OperationFailure as error:
        if error.code in _AUTHENTICATION_FAILED:
            raise ConfigurationRefused("MongoDB refuses the credentials in mongo.url") from None
        raise DependencyUnavailable("MongoDB answers with an error", seen=str(error.code)) from None
    except PyMongoError as error:
        raise DependencyUnavailable("MongoDB cannot be reached", seen=seen(error)) from None


def seen(error: BaseException) -> str:
    """What kept us from connecting, in the words of the system and without an address, after the error's class."""
    kind, text = type(error).__name__, str(error)
    system = re.search(r"\[Errno (-?\d+)\]", text)
    if system is not None:
        number = int(system[1])
        return f"{kind}: {os.strerror(number) if number > 0 else 'its name is not known'}"
    tls = re.search(r"certificate verify failed: ([^(]+)|\[SSL: (\w+)\]", text)
    if tls is not None:
        return f"{kind}: TLS: {tls[1].strip() if tls[1] else tls[2].lower().replace('_', ' ')}"
    return f"{kind}: no answer in time" if "timed out" in text else kind
