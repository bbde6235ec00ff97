"""The demo's telephony platform: what happens next, as a message ready to publish.

Values, drawn from the randomness and the time that are given; touches nothing.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from router.demo.customers import Customer, Hook, TrackingNumber, User, fictional_number
from router.ports import MessageProperties

FIRST_BROKEN: Final = 8
"""This message is broken in every run, so that short ones show a dead letter too."""
_BROKEN_SHARE: Final = 0.02
_CALL_SHARE: Final = 0.62
"""Of what is no end of a call: the rest is done by users."""
_ULID_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_Body = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One message. `hooks` are the webhooks that it must reach; `event_id` is None where it is no event at all."""

    event_id: str | None
    event_name: str
    customer: Customer
    hooks: tuple[Hook, ...]
    exchange: str
    routing_key: str
    body: bytes
    properties: MessageProperties


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A conversation under way. `answered_at` is None where nobody will answer."""

    id: str
    customer: Customer
    number: TrackingNumber
    redirection: str
    caller: _Body
    user: User
    received_at: datetime
    answered_at: datetime | None
    ends_at: datetime
    first_call: bool | None


@dataclass(slots=True)
class Platform:
    """Makes up a telephony platform's day. Times are UTC."""

    random: Random
    customers: Sequence[Customer]
    _made: int = 0
    _under_way: list[tuple[datetime, int, _Call]] = field(default_factory=list)

    def next(self, now: datetime) -> Publication:
        """What is published at `now`: the record of a call that ended, a new call, an action of a user, or noise."""
        self._made += 1
        if self._made == FIRST_BROKEN or self.random.random() < _BROKEN_SHARE:
            return self._broken()
        if self._under_way and self._under_way[0][0] <= now:
            return self._call_ended(heapq.heappop(self._under_way)[2], now)
        customer = self.random.choice(self.customers)
        if self.random.random() < _CALL_SHARE:
            return self._call_received(customer, now)
        return self._user_acted(customer, now)

    # --- calls ---

    def _call_received(self, customer: Customer, now: datetime) -> Publication:
        random = self.random
        anonymous = random.random() < 0.1
        rings = timedelta(seconds=random.uniform(0.5, 2))
        answered = random.random() < 0.75
        talks = timedelta(seconds=random.uniform(1, 4)) if answered else timedelta()
        call = _Call(
            id=f"c-{_uuid(random)}",
            customer=customer,
            number=random.choice(customer.numbers),
            redirection=fictional_number(random),
            caller={
                "number": None if anonymous else fictional_number(random),
                "anonymous": anonymous,
                "country": None if anonymous else "FR",
            },
            user=random.choice(customer.users),
            received_at=now,
            answered_at=now + rings if answered else None,
            ends_at=now + rings + talks,
            first_call=None if anonymous else random.random() < 0.5,
        )
        heapq.heappush(self._under_way, (call.ends_at, self._made, call))
        data = _call_data(call) | {"status": "ringing", "first_call": call.first_call}
        return self._event("call.received", customer, now, data, call=call, sequence=1)

    def _call_ended(self, call: _Call, now: datetime) -> Publication:
        answered = call.answered_at is not None
        rang_until = call.answered_at or call.ends_at
        ring, talk = _seconds(call.received_at, rang_until), _seconds(rang_until, call.ends_at)
        data = _call_data(call) | {
            "answered": answered,
            "disposition": "answered" if answered else "missed",
            "started_at": _time(call.received_at),
            "answered_at": _time(call.answered_at) if call.answered_at else None,
            "ended_at": _time(call.ends_at),
            "ring_duration": ring,
            "talk_duration": talk,
            "call_duration": ring + talk,
            "hangup_by": self.random.choice(("caller", "callee")) if answered else "caller",
            "hangup_cause": "NORMAL_CLEARING" if answered else "ORIGINATOR_CANCEL",
            "sip_code": 200 if answered else 487,
            "recording": None,
            "legs": [{"leg_id": "a1", "to": call.redirection, "answered": answered}],
        }
        return self._event(
            "cdr.created",
            call.customer,
            now,
            data,
            occurred_at=call.ends_at,
            call=call,
            sequence=2,
            user=call.user if answered else None,
        )

    # --- users ---

    def _user_acted(self, customer: Customer, now: datetime) -> Publication:
        random = self.random
        user = random.choice(customer.users)
        number: TrackingNumber | None = None
        target: _Body
        changes: list[_Body] = []
        action = random.choice(("session.opened", "tracking_number.updated", "status.changed"))
        match action:
            case "session.opened":
                target = {"type": "session", "id": f"s-{random.randrange(0x10000):04x}"}
            case "tracking_number.updated":
                number = random.choice(customer.numbers)
                target = {"type": "tracking_number", "id": number.id}
                before, after = fictional_number(random), fictional_number(random)
                changes = [{"field": "redirection_number", "from": before, "to": after}]
            case _:
                target = {"type": "user", "id": user.id}
                changes = [{"field": "status", "from": "in_call", "to": "wrap_up"}]
        data = {
            "action": action,
            "actor": {"id": user.id, "name": user.name, "role": user.role},
            "target": target,
            # 192.0.2.0/24 is kept for documentation (RFC 5737).
            "origin": {"channel": "web", "ip": f"192.0.2.{random.randrange(1, 255)}"},
            "changes": changes,
        }
        return self._event(f"user.{action}", customer, now, data, number=number, user=user)

    # --- messages ---

    def _event(
        self,
        name: str,
        customer: Customer,
        now: datetime,
        data: _Body,
        *,
        occurred_at: datetime | None = None,
        call: _Call | None = None,
        sequence: int | None = None,
        number: TrackingNumber | None = None,
        user: User | None = None,
    ) -> Publication:
        event_type = name.partition(".")[0]
        event_id = f"evt_{_ulid(self.random, now)}"
        number = call.number if call else number
        envelope = {
            "id": event_id,
            "type": event_type,
            "name": name,
            "version": "1",
            "occurred_at": _time(occurred_at or now),
            "published_at": _time(now),
            "account_id": customer.account_id,
            "call_id": call.id if call else None,
            "sequence": sequence,
            "tracking_number": {"id": number.id, "number": number.number, "label": number.label} if number else None,
            "user_id": user.id if user else None,
            "data": data,
        }
        key = "user.action" if event_type == "user" else name
        return Publication(
            event_id=event_id,
            event_name=name,
            customer=customer,
            hooks=customer.wanting(event_type, number.number if number else None, user.id if user else None),
            exchange=event_type,
            routing_key=f"{key}.{customer.account_id}",
            body=json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode(),
            properties=MessageProperties(
                content_type="application/json",
                message_id=event_id,
                type=event_type,
                timestamp=now.replace(microsecond=0),
                headers=_headers(customer, number, user),
            ),
        )

    def _broken(self) -> Publication:
        """What a publisher with a bug sends: JSON that was cut off."""
        customer = self.random.choice(self.customers)
        return Publication(
            event_id=None,
            event_name="not JSON",
            customer=customer,
            hooks=(),
            exchange="call",
            routing_key=f"call.received.{customer.account_id}",
            body=f'{{"type":"call","nonce":"{self.random.getrandbits(64):016x}","account_id":'.encode(),
            properties=MessageProperties(content_type="application/json", type="call"),
        )


def _call_data(call: _Call) -> _Body:
    return {
        "direction": "inbound",
        "caller": call.caller,
        "called_number": call.number.number,
        "redirection_number": call.redirection,
        "source": call.number.source,
    }


def _headers(customer: Customer, number: TrackingNumber | None, user: User | None) -> dict[str, str | int | bool]:
    headers: dict[str, str | int | bool] = {"schema": "1", "account_id": customer.account_id}
    if number:
        headers["tracking_number_id"] = number.id
    if user:
        headers["user_id"] = user.id
    return headers


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _seconds(start: datetime, end: datetime) -> int:
    return round((end - start).total_seconds())


def _ulid(random: Random, now: datetime) -> str:
    """48 bits of milliseconds and 80 random bits in Crockford's base 32, 26 characters."""
    value = int(now.timestamp() * 1000) << 80 | random.getrandbits(80)
    return "".join(_ULID_ALPHABET[value >> shift & 31] for shift in range(125, -5, -5))


def _uuid(random: Random) -> str:
    digits = f"{random.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
