"""What people with bad intentions, or none at all, put into names, URLs, ids, payloads and answers. Stores it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from router.domain.delivery import AttemptError, Delivery, DeliveryReason, DeliveryStatus
from router.domain.event import AccountId, EventType
from router.domain.webhook import WebhookId
from router.ports import StoredAccount, StoredEvent
from tests.support.samples import attempt, dead_letter, delivery, event
from tests.support.stored import StoredThings

ACCOUNT: Final = AccountId('1066"><script>alert(0)</script>')

TEXTS: Final = {
    "script": "<script>alert(1)</script>",
    "handler": '"><img src=x onerror=alert(2)>',
    "attribute": "' onmouseover=alert(3) autofocus onfocus=alert(3) x='",
    "scheme": "javascript:alert(4)",
    "template": "{{7*7}}{% raise %}${7*7}%(num)s%",
    "closing": "--></title></textarea></pre></code></script><script>alert(5)</script>",
    "entities": "&lt;b&gt; &amp;amp; &#x3C;script&#x3E;",
    "override": "facture\u202egpj.exe\u202c \u2066inside\u2069",
    "invisible": "zero\u200bwidth\u200d\ufeffmark\u00ad",
    "controls": "nul\x00 bell\x07 escape\x1b[31m del\x7f c1\x9b line\u2028end",
    "right to left": "مكالمة واردة שיחה נכנסת",
    "stacked": "Z" + "\u0351\u0308\u0322\u0331" * 40 + "algo",
    "long word": "W" * 1_000,
    "astral": "👩‍👩‍👧‍👦 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0010fffd",
    "csv": '=HYPERLINK("https://evil.example","x")',
}
ONE_MIB: Final = 1024 * 1024

_ANSWERS: Final = {
    # As the sender keeps bytes that are no UTF-8.
    "answer of bytes": b"\xff\xfe\x80<script>alert(6)</script>\xc3(".decode("utf-8", "replace"),
    "answer of markup": "<!doctype html><html><body onload=alert(7)><iframe src=javascript:alert(8)></iframe>" * 20,
}


def webhook_id(kind: str) -> str:
    return f"wh_hostile_{list(TEXTS).index(kind)}"


def store_hostile(things: StoredThings, now: datetime) -> dict[str, Delivery]:
    """An account in which every text is everywhere; the delivery in which each is, by its kind."""
    things.add_account(StoredAccount(id=ACCOUNT, webhooks_enabled=True))
    found: dict[str, Delivery] = {}
    for nth, (kind, text) in enumerate(TEXTS.items()):
        things.add_definition(_definition(kind, text, now))
        found[kind] = _delivered(things, kind, now - nth * timedelta(minutes=1), text, _payload(text), text)
    for kind, body in _ANSWERS.items():
        found[kind] = _delivered(things, kind, now, kind, _payload(kind), body)
    large = b'{"id":"evt_large","data":"' + b"<script>alert(9)</script>" * (ONE_MIB // 25) + b'"}'
    found["one MiB"] = _delivered(things, "one MiB", now, "one MiB", large, "x" * 2_048)
    found["no UTF-8"] = _delivered(things, "no UTF-8", now, "no UTF-8", b'\xff\xfe{"a":"\x80\x00\x1b[2J"}', "ok")
    found["no JSON"] = _delivered(things, "no JSON", now, "no JSON", b"<script>alert(10)</script>", "ok")
    found["deep"] = _delivered(things, "deep", now, "deep", b"[" * 5_000 + b"]" * 5_000, "ok")
    for nth, text in enumerate((*TEXTS.values(), "\ufffd\ufffd<script>alert(11)</script>")):
        letter = dead_letter(f"dl_hostile_{nth}", b"\xff\x00" + text.encode(), received_at=now, routing_key=text)
        things.add_dead_letter(replace(letter, content_type=text, head=text))
    return found


def _definition(kind: str, text: str, now: datetime) -> dict[str, Any]:
    """As a back office may have written it: some are invalid, and all must be shown."""
    return {
        "_id": webhook_id(kind),
        "account_id": ACCOUNT,
        "name": text,
        "url": text if kind == "scheme" else f"https://hostile.example/{text}",
        "event_type": "user",
        "enabled": True,
        "restrict_to": {"user_id": text},
        "created_at": now,
        "updated_at": now,
    }


def _payload(text: str) -> bytes:
    return json.dumps({"id": text, text: [text, {"nested": text}]}, ensure_ascii=False).encode()


def _delivered(things: StoredThings, kind: str, at: datetime, text: str, payload: bytes, answer: str) -> Delivery:
    """An event of the text, and its delivery to the webhook of the text."""
    hook = webhook_id(kind) if kind in TEXTS else webhook_id("script")
    stored: StoredEvent = event(
        text,
        matched=[hook],
        account_id=ACCOUNT,
        type=EventType.USER,
        name=text,
        call_id=text,
        user_id=text,
        tracking_number=text,
        occurred_at=at,
        received_at=at,
        payload=payload,
        source=text,
    )
    things.add_event(stored)
    made = delivery(
        stored,
        hook,
        webhook_id=WebhookId(hook),
        status=DeliveryStatus.FAILED,
        reason=DeliveryReason.EXHAUSTED,
        url=text if kind == "scheme" else f"https://hostile.example/{text}",
        attempts=(_answered(answer, at),),
        created_at=at,
        completed_at=at,
    )
    things.add_delivery(made, stored.key)
    return made


def _answered(body: str, at: datetime) -> Any:
    return replace(attempt(1, 500), started_at=at, error=AttemptError.HTTP_STATUS, response_body=body)
