"""Events as the telephony platform publishes them: the reference envelope, with numbers reserved for fiction.

Values only; every one carries `NOTE`, so that a payload that leaks somewhere can be told by it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.support.servers import unique

TRACKING: Final = "+33199001234"
CALLER: Final = "+33639981122"
REDIRECTION: Final = "+33199007788"
USER: Final = "u-17"
NOTE: Final = "note-that-only-the-payload-holds"

_NAMES: Final = {"call": "call.received", "cdr": "cdr.created", "user": "user.tracking_number.updated"}


def make_event(account_id: object, event_type: str = "cdr", **fields: Any) -> dict[str, Any]:
    """A whole event with an id of its own. `fields` replace what is at the top level."""
    is_user = event_type == "user"
    event: dict[str, Any] = {
        "id": unique("evt_"),
        "type": event_type,
        "name": _NAMES.get(event_type, event_type),
        "version": "1",
        "occurred_at": rfc3339(),
        "account_id": account_id,
        "call_id": None if is_user else unique("c-"),
        "sequence": None if is_user else 1,
        "tracking_number": {"id": "tn-5501", "number": TRACKING, "label": "Google Ads Paris"},
        "user_id": USER if is_user else None,
        "data": {
            "direction": "inbound",
            "caller": {"number": CALLER, "anonymous": False, "country": "FR"},
            "called_number": TRACKING,
            "redirection_number": REDIRECTION,
            "source": "fiche_établissement",
            "note": NOTE,
        },
    }
    return event | fields


def without(event: dict[str, Any], *fields: str) -> dict[str, Any]:
    """The event, some top-level fields left out."""
    return {key: value for key, value in event.items() if key not in fields}


def encode(event: object) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()


def rfc3339(*, seconds_ago: float = 0) -> str:
    """A time of this host's clock, UTC, to the millisecond."""
    moment = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
