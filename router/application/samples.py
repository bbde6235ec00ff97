"""Events to try things out with, in the default envelope (contract, section 2). Values in, bytes out; touches nothing.

Where no number is given, the numbers are from a range that is reserved for fiction.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from router.domain.event import EventType

TRACKING_NUMBER: Final = "+33199001234"
CALLER: Final = "+33639981122"
REDIRECTION: Final = "+33199007788"
USER: Final = "u-17"

_NAMES: Final = {
    EventType.CALL: "call.received",
    EventType.CDR: "cdr.created",
    EventType.USER: "user.tracking_number.updated",
}


def sample_event(
    event_type: EventType,
    *,
    account_id: str,
    token: str,
    now: datetime,
    number: str | None = None,
    user_id: str | None = None,
    is_test: bool = False,
) -> bytes:
    """A whole event. `token` makes its id and its call one of a kind; `number` is the tracking number, as written.

    With `is_test`, its data say so, for a customer's program to do nothing with it.
    """
    is_user = event_type is EventType.USER
    event = {
        "id": f"evt_{token}",
        "type": event_type.value,
        "name": _NAMES[event_type],
        "occurred_at": now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "account_id": account_id,
        "call_id": None if is_user else f"c-{token}",
        "sequence": None if is_user else 1,
        "tracking_number": {"id": "tn-sample", "number": number or TRACKING_NUMBER, "label": "Sample"},
        "user_id": user_id or (USER if is_user else None),
        "data": {"test": True, **_DATA[event_type]} if is_test else _DATA[event_type],
    }
    return json.dumps(event, ensure_ascii=False).encode()


_CALL: Final[dict[str, Any]] = {
    "direction": "inbound",
    "caller": {"number": CALLER, "anonymous": False, "country": "FR"},
    "redirection_number": REDIRECTION,
}
_DATA: Final[dict[EventType, dict[str, Any]]] = {
    EventType.CALL: {**_CALL, "status": "ringing"},
    EventType.CDR: {**_CALL, "answered": True, "disposition": "answered", "talk_duration": 213, "call_duration": 221},
    EventType.USER: {
        "action": "tracking_number.updated",
        "changes": [{"field": "redirection_number", "from": "+33199003311", "to": REDIRECTION}],
    },
}
