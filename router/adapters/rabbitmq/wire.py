"""Reads AMQP fields that the client library would close the connection over, lets it say why the broker closed, and
keeps it from warnings that nobody can act on. Changes the library's decoders and one of its texts, once.

A timestamp in microseconds, or a name that is not UTF-8, makes the library drop the connection; the broker then
delivers the same message again, for ever, and nothing behind it. Such a field is no reason: its message is read.
"""

from __future__ import annotations

import struct
import warnings
from typing import Any, Final

from pamqp import commands, decode

UNREADABLE: Final = (ValueError, OverflowError, OSError, RecursionError, struct.error)
"""What the library's decoders raise: `OverflowError` and `OSError` come from times that the platform does not know,
`RecursionError` from tables in tables."""
MAX_TABLE_BYTES: Final = 32 * 1024
"""A longer table of headers is taken for an empty one: the library copies all that is left for each entry, and 128 KiB
of small ones, the most that a frame holds, would take two seconds of everybody's time."""


def read_unreadable_fields() -> None:
    """Make every connection of this process read what it otherwise would not. Repeating it changes nothing."""
    decode.METHODS["shortstr"] = _short_str
    decode.METHODS["timestamp"] = decode.TABLE_MAPPING[b"T"] = _timestamp
    decode.METHODS["table"] = _table


def show_close_reasons() -> None:
    """Have a connection's close say its code and text where the library prints it.

    To a client that is refused at `connection.open` the library tells no more than that some close came; a virtual
    host that is down and one that does not exist then look the same. Repeating it changes nothing.
    """
    commands.Connection.Close.__repr__ = _close_text  # type: ignore[method-assign]


def hush_abandoned_connections() -> None:
    """A connection that did not come about is collected in whatever thread; from another than its loop's the library
    cannot close it, and Python warns of that with the path of a file. Repeating it changes nothing."""
    warnings.filterwarnings("ignore", "coroutine 'Connection.close' was never awaited", RuntimeWarning)


def _close_text(close: Any) -> str:
    return f"Connection.Close {close.reply_code} {close.reply_text}"


def _short_str(value: bytes) -> tuple[int, str]:
    """Latin-1 publishers and binary ids: what is not UTF-8 becomes U+FFFD."""
    end = 1 + int.from_bytes(value[:1], "big")
    return end, value[1:end].decode("utf-8", "replace")


def _timestamp(value: bytes) -> tuple[int, Any]:
    """A time outside the calendar is none."""
    try:
        return decode.timestamp(value)
    except UNREADABLE:
        return 8, None


def _table(value: bytes) -> tuple[int, Any]:
    """A table with a key or a type that cannot be read is an empty one; its length says where it ends."""
    size = int.from_bytes(value[:4], "big")
    if size > MAX_TABLE_BYTES:
        return 4 + size, {}
    try:
        return decode.field_table(value)
    except UNREADABLE:
        return 4 + size, {}
