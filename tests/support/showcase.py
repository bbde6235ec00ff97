"""An account as it looks after a week: webhooks in every state, calls with all that came of them, dead letters.

    story = Showcase(now=NOON)
    story.store(StoredThings(database))

The same for the same `now`. Nothing in it is ever sent: deliveries that are pending are due to nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from router.domain.delivery import (
    Delivery,
    DeliveryReason,
    DeliveryStatus,
    delivery_id,
)
from router.domain.event import AccountId, Event, EventType
from router.domain.matching import Verdict, explain
from router.domain.numbers import search_key
from router.domain.webhook import (
    Account,
    Suspension,
    SuspensionReason,
    TrackingNumberRestriction,
    UserRestriction,
    Webhook,
    WebhookId,
)
from router.ports import StoredAccount, StoredEvent
from tests.support.events import CALLER, REDIRECTION, TRACKING, USER
from tests.support.fates import BUSY, CERTIFICATE, FATES, NO_CONTENT, OK, SLOW, Fate, attempts, failed
from tests.support.samples import dead_letter
from tests.support.stored import StoredThings

ACCOUNT: Final = AccountId("1042")
OTHER_ACCOUNT: Final = AccountId("2077")
CRM: Final = WebhookId("wh_crm")
STATISTICS: Final = WebhookId("wh_statistiques")
TEAM: Final = WebhookId("wh_equipe")
PAUSED: Final = WebhookId("wh_ancien_crm")
SUSPENDED: Final = WebhookId("wh_erp")
INVALID: Final = WebhookId("wh_essai")
FAILING: Final = WebhookId("wh_campagnes")
DELETED: Final = WebhookId("wh_supprime")

MISSED_CALL: Final = "c-7f3e0b5a-2c41-4c0e-9a57-1d1f6a2b9c10"
"""The call that the CRM did not pop for."""

_NUMBERS: Final = (
    (TRACKING, "Google Ads Paris"),
    ("+33465710042", "Flyer Lyon"),
    ("+33199005566", "Fiche Établissement"),
)
_CALLS: Final = 44
_MINUTE: Final = timedelta(minutes=1)
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Showcase:
    """Everything that is stored, as it is at `now`."""

    now: datetime
    url: str = "https://crm.example"
    webhooks: Sequence[Webhook] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "webhooks", tuple(_webhooks(self.now, self.url)))

    def store(self, things: StoredThings) -> None:
        things.add_account(StoredAccount(id=ACCOUNT, webhooks_enabled=True))
        things.add_account(StoredAccount(id=OTHER_ACCOUNT, webhooks_enabled=False))
        for webhook in self.webhooks:
            things.add_webhook(webhook)
        things.add_webhook(_webhook("wh_2077", "Standard", self.now, url=self.url, account_id=OTHER_ACCOUNT))
        for event, keys in self.events():
            stored = self._stored(event)
            things.add_event(stored)
            for delivery in self._deliveries(stored):
                things.add_delivery(delivery, event.key, keys)
        for letter in _dead_letters(self.now):
            things.add_dead_letter(letter)

    # --- events ---

    def events(self) -> Iterator[tuple[Event, Sequence[str]]]:
        """Each with what its deliveries are found by, the newest first."""
        yield from self._call(-1, self.now - 47 * _MINUTE, CALLER, MISSED_CALL)
        for nth in range(_CALLS):
            # Close together today, some hours apart before.
            ago = (3 + 11 * nth) * _MINUTE if nth < 16 else timedelta(hours=5 * (nth - 15), minutes=nth)
            caller = None if nth % 9 == 4 else f"+3363998{(1187 * (nth + 3)) % 10_000:04d}"
            yield from self._call(nth, self.now - ago, caller, f"c-{UUID(bytes=_bytes(f'call {nth}'))}")
        for nth in range(6):
            yield self._acted(nth, self.now - timedelta(hours=20 * nth, minutes=8))

    def _call(self, nth: int, at: datetime, caller: str | None, call_id: str) -> Iterator[tuple[Event, Sequence[str]]]:
        number, label = _NUMBERS[nth % 3] if nth >= 0 else _NUMBERS[0]
        answered = nth % 4 != 2
        data: dict[str, Any] = {
            "direction": "inbound",
            "caller": {"number": caller, "anonymous": caller is None, "country": caller and "FR"},
            "called_number": number,
            "redirection_number": REDIRECTION,
        }
        steps = [("cdr.created", 90 if answered else 23, {"disposition": "answered" if answered else "missed"})]
        steps += [("call.answered", 8, {"status": "in_call"})] if answered else []
        steps += [("call.received", 0, {"status": "ringing", "source": "google_ads"})]
        for sequence, (name, after, more) in zip(range(len(steps), 0, -1), steps, strict=True):
            yield _event(
                name,
                at + after * _SECOND,
                data | more,
                call_id=call_id,
                sequence=sequence,
                number=(number, label),
                nth=nth,
            )

    def _acted(self, nth: int, at: datetime) -> tuple[Event, Sequence[str]]:
        changes = [{"field": "redirection_number", "from": "+33199003311", "to": REDIRECTION}]
        data = {"action": "tracking_number.updated", "origin": {"channel": "web"}, "changes": changes}
        user = USER if nth % 2 == 0 else "u-31"
        return _event("user.tracking_number.updated", at, data, number=_NUMBERS[1], user_id=user, nth=nth)

    def _stored(self, event: Event) -> StoredEvent:
        account = Account(id=ACCOUNT, webhooks_enabled=True, webhooks=tuple(self.webhooks))
        trace = [(webhook.id, verdict) for webhook, verdict in explain(account, event)]
        if event.type is EventType.USER and event.user_id == USER:
            trace.append((DELETED, Verdict.MATCHED))
        names = ("key", "account_id", "event_id", "type", "name", "call_id", "user_id", "sequence", "tracking_number")
        return StoredEvent(
            **{name: getattr(event, name) for name in names},
            occurred_at=event.occurred_at,
            received_at=event.received_at,
            source=event.source,
            account_enabled=True,
            trace=trace,
            trace_truncated=False,
            payload=event.payload,
        )

    # --- deliveries ---

    def _deliveries(self, event: StoredEvent) -> Iterator[Delivery]:
        for webhook_id, verdict in event.trace:
            if verdict is Verdict.MATCHED:
                url = next((hook.url for hook in self.webhooks if hook.id == webhook_id), f"{self.url}/ancien")
                yield self._delivery(event, webhook_id, url)

    def _delivery(self, event: StoredEvent, webhook_id: WebhookId, url: str) -> Delivery:
        status, reason, tries = self._fate(event, webhook_id)
        made = tuple(attempts(event.received_at, tries))
        is_over = status is not DeliveryStatus.PENDING
        ended = made[-1].started_at + timedelta(milliseconds=made[-1].duration_ms) if made else None
        return Delivery(
            id=delivery_id(event.key, webhook_id),
            account_id=event.account_id,
            webhook_id=webhook_id,
            event_id=event.event_id,
            event_type=event.type,
            event_name=event.name,
            call_id=event.call_id,
            user_id=event.user_id,
            status=status,
            reason=reason,
            url=url,
            attempt_count=len(made),
            attempts=made,
            next_attempt_at=None if is_over else self.now + timedelta(hours=2),
            created_at=event.received_at,
            completed_at=(ended or event.received_at + 31 * _SECOND) if is_over else None,
        )

    def _fate(self, event: StoredEvent, webhook_id: WebhookId) -> Fate:
        if webhook_id == DELETED:
            return DeliveryStatus.CANCELLED, DeliveryReason.WEBHOOK_DELETED, [BUSY]
        if webhook_id == SUSPENDED:
            is_before = event.received_at < self.now - timedelta(days=2)
            return failed(BUSY, 4) if is_before else failed(BUSY, 0, DeliveryReason.SUSPENDED)
        if webhook_id == STATISTICS and event.received_at > self.now - 20 * _MINUTE:
            return DeliveryStatus.PENDING, None, [BUSY, SLOW]
        if webhook_id == CRM and event.call_id == MISSED_CALL:
            return failed(CERTIFICATE, 5)
        fates = FATES if event.type is EventType.CALL else FATES[:-1]
        if webhook_id == FAILING and event.received_at > self.now - timedelta(hours=26):
            return failed(BUSY, 5)
        draw = int.from_bytes(_bytes(event.event_id + webhook_id)[:2]) % 56
        return fates[draw] if draw < len(fates) else (DeliveryStatus.DELIVERED, None, [OK if draw % 2 else NO_CONTENT])


# --- what it is made of ----------------------------------------------------------------------------


def _webhooks(now: datetime, url: str) -> Iterator[Webhook]:
    numbers = TrackingNumberRestriction(numbers=frozenset({TRACKING, "+33465710042"}))
    yield _webhook(CRM, "CRM – fiche d’appel", now, url=f"{url}/appels", days=210, restriction=numbers)
    cdr = {"event_type": EventType.CDR}
    yield _webhook(STATISTICS, "Statistiques d’appels", now, url=f"{url}/statistiques", days=180, **cdr)
    yield _webhook(
        TEAM,
        "Planning de l’équipe",
        now,
        url=f"{url}/equipe",
        days=90,
        event_type=EventType.USER,
        restriction=UserRestriction(user_id=USER),
    )
    yield _webhook(
        FAILING,
        "Campagnes",
        now,
        url="https://campagnes.example/appels",
        days=45,
        restriction=TrackingNumberRestriction(numbers=frozenset({"+33199005566"})),
        failing_since=now - timedelta(hours=26),
    )
    yield _webhook(PAUSED, "Ancien CRM", now, url="https://ancien.example/appels", days=400, enabled=False)
    gone = Suspension(since=now - timedelta(days=2), reason=SuspensionReason.FAILING)
    since = {"suspension": gone, "failing_since": now - timedelta(days=7)}
    yield _webhook(SUSPENDED, "ERP", now, url="https://erp.example/cdr", days=300, **cdr, **since)
    yield _webhook(INVALID, "Essai", now, url="ftp://essai.example/appels", days=1, problem="url: must be https")


def _webhook(identity: str, name: str, now: datetime, *, days: int = 30, **fields: Any) -> Webhook:
    at = now - timedelta(days=days)
    plain = Webhook(
        id=WebhookId(identity),
        account_id=ACCOUNT,
        name=name,
        url="",
        event_type=EventType.CALL,
        enabled=True,
        created_at=at,
        updated_at=at,
    )
    return replace(plain, **fields)


def _event(
    name: str,
    at: datetime,
    data: dict[str, Any],
    *,
    number: tuple[str, str],
    nth: int,
    call_id: str | None = None,
    sequence: int | None = None,
    user_id: str | None = None,
) -> tuple[Event, Sequence[str]]:
    kind = name.partition(".")[0]
    # From what it is about and not from its time: so the same at any `now`.
    identity = "evt_" + _bytes(f"{name} {call_id} {user_id} {nth}").hex()[:16]
    envelope = {
        "id": identity,
        "type": kind,
        "name": name,
        "occurred_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "account_id": ACCOUNT,
        "call_id": call_id,
        "sequence": sequence,
        "tracking_number": {"id": "tn-" + number[0][-4:], "number": number[0], "label": number[1]},
        "user_id": user_id,
        "data": data,
    }
    numbers = (number[0], REDIRECTION, data.get("caller", {}).get("number"))
    keys = tuple(key for key in (search_key(one, "FR") for one in numbers if one) if key)
    event = Event(
        account_id=ACCOUNT,
        event_id=identity,
        type=EventType(kind),
        name=name,
        occurred_at=at,
        received_at=at + timedelta(milliseconds=38),
        call_id=call_id,
        sequence=sequence,
        tracking_number=number[0],
        user_id=user_id,
        number_keys=keys,
        payload=json.dumps(envelope, ensure_ascii=False).encode(),
        source=kind,
    )
    return event, keys


def _dead_letters(now: datetime) -> Iterator[Any]:
    told = (
        ("not_json", "the body is not JSON", b'{"id":"evt_1","type":"call",'),
        ("no_account", "account_id is missing", b'{"id":"evt_2","type":"cdr","data":{}}'),
        ("unknown_type", "the type is none of call, cdr, user", b'{"id":"evt_3","type":"sms","account_id":"1042"}'),
    )
    for nth, (reason, detail, body) in enumerate(told):
        at = now - timedelta(hours=3 * nth, minutes=20)
        yield dead_letter(f"dl_{nth}{_bytes(reason).hex()[:12]}", body, reason=reason, detail=detail, received_at=at)


def _bytes(seed: str) -> bytes:
    """16 bytes, the same for the same text."""
    return sha256(seed.encode()).digest()[:16]
