"""What the first release that served had written, in its own shapes: documents and indexes, made by its own code."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from bson import json_util
from pymongo import IndexModel
from pymongo.database import Database

WRITTEN_AT: Final = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
ACCOUNT: Final = "1042"
_FILE: Final = Path(__file__).with_suffix(".json")


def restore(database: Database[dict[str, Any]], *, url: str, ago: timedelta = timedelta(hours=1)) -> None:
    """Put all of it into a database, as if it had been written so long ago. Webhooks lead to the server at `url`."""
    held = json_util.loads(
        _FILE.read_text(encoding="utf-8"), json_options=json_util.JSONOptions(tz_aware=True, tzinfo=UTC)
    )
    shift = datetime.now(UTC) - ago - WRITTEN_AT
    for name, indexes in held["indexes"].items():
        database[name].create_indexes([_index(index) for index in indexes])
    for name, documents in held["documents"].items():
        database[name].insert_many(_moved(document, shift, url) for document in documents)


def _index(index: Mapping[str, Any]) -> IndexModel:
    options = {key: value for key, value in index.items() if key != "keys"}
    return IndexModel([(field, int(direction)) for field, direction in index["keys"]], **options)


def _moved(value: Any, shift: timedelta, url: str) -> Any:
    match value:
        case dict():
            return {key: _moved(inner, shift, url) for key, inner in value.items()}
        case list():
            return [_moved(inner, shift, url) for inner in value]
        case datetime():
            return value + shift
        case str() if value.startswith("https://crm.example"):
            return value.replace("https://crm.example", url)
        case _:
            return value
