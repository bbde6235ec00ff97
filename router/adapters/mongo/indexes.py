"""The collections' names and indexes: one index per way of asking, none beside. `create_indexes` is idempotent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import OperationFailure, PyMongoError

from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database, seen
from router.domain.errors import ConfigurationRefused, DependencyUnavailable
from router.domain.topology import Line, Presence

ACCOUNTS: Final = "accounts"
WEBHOOKS: Final = "webhooks"
WEBHOOK_HEALTH: Final = "webhook_health"
EVENTS: Final = "events"
DELIVERIES: Final = "deliveries"
DEAD_LETTERS: Final = "dead_letters"
PUBLISHER_CLOCKS: Final = "publisher_clocks"
SEALING_KEYS: Final = "sealing_keys"
TOKENS: Final = "tokens"
AUDIT: Final = "audit"
REPLAYS: Final = "replays"
SESSIONS: Final = "sessions"
META: Final = "meta"

OUTBOX_INDEX: Final = "announce"
UNMATCHED_INDEX: Final = "unmatched"

INDEX_CONFLICTS: Final = frozenset({85, 86})
"""IndexOptionsConflict and IndexKeySpecsConflict."""

NAMESPACE_NOT_FOUND: Final = 26
_OPTIONS: Final = ("unique", "sparse", "expireAfterSeconds", "partialFilterExpression")


def _index(name: str, *keys: tuple[str, int], **options: Any) -> IndexModel:
    return IndexModel(list(keys), name=name, **options)


_NEWEST: Final = (("created_at", DESCENDING), ("_id", DESCENDING))
_TTL: Final = _index("expire_at", ("expire_at", ASCENDING), expireAfterSeconds=0)

_OUTBOX: Final = _index(OUTBOX_INDEX, ("announce.at", ASCENDING), sparse=True)

INDEXES: Final[dict[str, list[IndexModel]]] = {
    WEBHOOKS: [
        _index("account", ("account_id", ASCENDING), *_NEWEST),
        _index("newest", *_NEWEST),
        # By the host of a URL, which is where it begins.
        _index("url", ("url", ASCENDING)),
    ],
    WEBHOOK_HEALTH: [
        _OUTBOX,
        _index("failing", ("failing_since", ASCENDING), sparse=True),
        _index("suspended", ("suspended_at", ASCENDING), sparse=True),
    ],
    EVENTS: [
        _index("call", ("call_id", ASCENDING), sparse=True),
        _index("payload_expires_at", ("payload_expires_at", ASCENDING), sparse=True),
        # Partial, not sparse: of several keys, one that is there would be enough to be in a sparse one.
        _index(
            UNMATCHED_INDEX,
            ("unmatched", ASCENDING),
            ("received_at", ASCENDING),
            ("_id", ASCENDING),
            partialFilterExpression={"unmatched": {"$exists": True}},
        ),
        _TTL,
    ],
    DELIVERIES: [
        _index("due", ("due_at", ASCENDING), sparse=True),
        # Only what rests has the field; its value is the webhook that wakes it.
        _index("held", ("held", ASCENDING), sparse=True),
        # Only what a bulk replay has released and what was not attempted since.
        _index("replaying", ("replaying", ASCENDING), sparse=True),
        _index("newest", *_NEWEST),
        _index("account", ("account_id", ASCENDING), *_NEWEST),
        # The status at the end makes the counts of a webhook a walk over this index alone.
        _index("webhook", ("webhook_id", ASCENDING), *_NEWEST, ("status", ASCENDING)),
        # Event, call, user and numbers in one array: every index more is paid for at each write.
        _index("search", ("search", ASCENDING), *_NEWEST),
        _OUTBOX,
        _TTL,
    ],
    AUDIT: [
        _index("newest", ("at", DESCENDING), ("_id", DESCENDING)),
        _index("account", ("account_id", ASCENDING), ("at", DESCENDING), ("_id", DESCENDING)),
        _TTL,
    ],
    REPLAYS: [
        _index("due", ("due_at", ASCENDING), sparse=True),
        _index("state", ("state", ASCENDING), ("account_id", ASCENDING)),
        _index("account", ("account_id", ASCENDING), *_NEWEST),
        _index("newest", *_NEWEST),
        _TTL,
    ],
    TOKENS: [
        _index("account", ("account_id", ASCENDING), *_NEWEST),
        _index("newest", *_NEWEST),
    ],
    SESSIONS: [_TTL],
    DEAD_LETTERS: [
        _index("newest", ("received_at", DESCENDING), ("_id", DESCENDING)),
        _index("digest", ("digest", ASCENDING)),
        _index("reason", ("reason", ASCENDING), ("requeued_at", ASCENDING), ("received_at", DESCENDING)),
        _index("payload_expires_at", ("payload_expires_at", ASCENDING), sparse=True),
        _TTL,
    ],
}


async def plan_indexes(database: Database) -> list[Line]:
    """How each index that is wanted was found, then those that are there and not ours. Raises DependencyUnavailable."""
    return [line for collection in INDEXES for line in await _compare(database, collection)]


async def _compare(database: Database, collection: str) -> list[Line]:
    found = {index["name"]: _shape(index) for index in await _list(database, collection)}
    wanted = {index.document["name"]: _shape(index.document) for index in INDEXES[collection]}
    lines: list[Line] = []
    for name, shape in wanted.items():
        other = next((each for each, has in found.items() if each not in wanted and has[0] == shape[0]), None)
        if found.get(name) == shape:
            presence, detail = Presence.PRESENT, ""
        elif name in found:
            presence, detail = Presence.DIFFERENT, f"is on {_words(found[name])}; wanted: {_words(shape)}"
        elif other is not None:
            presence, detail = Presence.DIFFERENT, f"is there under the name {other}"
        else:
            presence, detail = Presence.MISSING, _words(shape)
        lines.append(Line(kind="index", name=f"{collection}.{name}", presence=presence, detail=detail))
    extra = sorted(found.keys() - wanted.keys() - {"_id_"})
    lines += (
        Line(kind="index", name=f"{collection}.{name}", presence=Presence.EXTRA, detail=_words(found[name]))
        for name in extra
    )
    return lines


_Shape = tuple[tuple[tuple[str, Any], ...], Mapping[str, Any]]


def _shape(index: Mapping[str, Any]) -> _Shape:
    """Keys in their order, and the options that change what an index holds."""
    options = {name: index[name] for name in _OPTIONS if index.get(name, False) is not False}
    keys = tuple((str(key), int(way) if isinstance(way, float) else way) for key, way in index["key"].items())
    return keys, options


def _words(shape: _Shape) -> str:
    keys, options = shape
    said = (name if value is True else f"{name} {value}" for name, value in options.items())
    return ", ".join([*(f"{key} {way}" for key, way in keys), *said])


async def _list(database: Database, collection: str) -> list[Mapping[str, Any]]:
    try:
        # One batch: a collection has 64 indexes at most.
        answer = await database.command(
            {"listIndexes": collection, "cursor": {"batchSize": 100}, "maxTimeMS": MAX_READ_TIME_MS}
        )
    except OperationFailure as error:
        if error.code == NAMESPACE_NOT_FOUND:
            return []
        raise DependencyUnavailable(f"MongoDB did not list the indexes ({error.code})") from None
    except PyMongoError as error:
        raise DependencyUnavailable("MongoDB cannot be reached", seen=seen(error)) from None
    batch: list[Mapping[str, Any]] = answer["cursor"]["firstBatch"]
    return batch


async def ensure_indexes(database: Database) -> None:
    """Create what is missing. Raises ConfigurationRefused where an index of that name is another one."""
    for collection, indexes in INDEXES.items():
        await _ensure(database, collection, indexes)


async def _ensure(database: Database, collection: str, indexes: list[IndexModel]) -> None:
    try:
        await database[collection].create_indexes(indexes)
    except OperationFailure as error:
        if error.code in INDEX_CONFLICTS:
            raise ConfigurationRefused(
                f"collection {collection!r} has an index of another shape under one of our names: {error.details}"
            ) from None
        raise DependencyUnavailable(f"MongoDB did not create the indexes ({error.code})") from None
    except PyMongoError as error:
        raise DependencyUnavailable("MongoDB cannot be reached", seen=seen(error)) from None
