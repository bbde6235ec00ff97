"""One delivery: its attempts in words, the request as it was sent, the answers, the payload to keep. Reads through
ports; whoever sees a payload is written down first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from router import __version__
from router.application import queries
from router.domain.audit import AuditAction
from router.domain.delivery import Attempt, Delivery, DeliveryId, Trigger
from router.domain.event import header_id
from router.domain.principal import Scope
from router.domain.webhook import Webhook
from router.web.console.exports import curl_command
from router.web.console.highlight import coloured_json
from router.web.console.language import N_
from router.web.console.page import Answer, Download, NoQuery, Page, Route, route
from router.web.console.pages.deliveries_words import words_for

MAX_SHOWN_BYTES: Final = 131_072
"""Of a payload on a page; the whole is a download."""
_MISSING: Final = N_("No delivery has this id, or you may not see it. Deliveries leave the log after a while.")


class DeliveryQuery(NoQuery):
    """Which side of it."""

    tab: str = "attempts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A payload as a page shows it: `code` is the whole, or the beginning; `exact` is the text to be copied."""

    size: int
    code: str
    exact: str
    is_whole: bool


def payload_of(body: bytes) -> Payload:
    """Bytes that are no UTF-8 are shown by their number."""
    shown = body[:MAX_SHOWN_BYTES]
    is_whole = len(shown) == len(body)
    # Cut between characters, so that the last one is not shown as broken.
    text = shown.decode("utf-8", "surrogateescape")
    if not is_whole:
        text = text.rstrip("".join(map(chr, range(0xDC80, 0xDD00))))
    return Payload(size=len(body), code=coloured_json(text), exact=shown.decode("utf-8", "replace"), is_whole=is_whole)


@route("GET", "/deliveries/{id}", Scope.READ, missing=_MISSING)
async def show_delivery(page: Page[DeliveryQuery]) -> Answer | None:
    """A delivery by one of its sides. Only the request shows the payload, and only it is a reveal."""
    payload = None
    if page.query.tab == "request":
        found = await page.api.reader.delivery(DeliveryId(page.id))
        if found is None:
            return None
        delivery, payload = found
        await page.audit.note(AuditAction.DELIVERY_REVEALED, account_id=delivery.account_id, target=delivery.id)
    else:
        summary = await page.api.reader.delivery_summary(DeliveryId(page.id))
        if summary is None:
            return None
        delivery = summary
    webhook = await page.api.reader.webhook(delivery.webhook_id)
    last = delivery.attempts[-1] if delivery.attempts else None
    headers = request_headers(delivery, webhook, last)
    return page.show(
        "deliveries/show.html",
        delivery=delivery,
        webhook=webhook,
        tab=page.query.tab if page.query.tab in {"request", "answer"} else "attempts",
        last=last,
        words=lambda attempt: words_for(attempt, delivery.url, page.language, page.fmt),
        delay=queries.first_delay(delivery),
        headers=headers,
        hidden=hidden_headers(webhook, last),
        payload=payload_of(payload) if payload is not None else None,
        curl=None if payload is None else curl_command(delivery.url, headers, payload, f"{delivery.id}.json"),
        account=delivery.account_id,
    )


@route("GET", "/deliveries/{id}/payload", Scope.READ, missing=_MISSING)
async def download_payload(page: Page[NoQuery]) -> Answer | None:
    """The payload, byte for byte, as a file."""
    found = await page.api.reader.delivery(DeliveryId(page.id))
    if found is None or found[1] is None:
        return None
    delivery, payload = found
    await page.audit.note(AuditAction.DELIVERY_REVEALED, account_id=delivery.account_id, target=delivery.id)
    return Download(name=f"{delivery.id}.json", body=payload or b"")


def request_headers(delivery: Delivery, webhook: Webhook | None, attempt: Attempt | None) -> dict[str, str]:
    """The headers of an attempt, made again from what is known; those that hold secrets are not among them."""
    sent_at: datetime | None = attempt.started_at if attempt else None
    headers = {
        "content-type": "application/json",
        "user-agent": f"webhook-router/{__version__}",
        "webhook-id": header_id(delivery.event_id),
        "x-webhook-event": delivery.event_type.value,
        "x-webhook-delivery": delivery.id,
        "x-webhook-attempt": str(attempt.number if attempt else 1),
    }
    if sent_at is not None:
        headers["webhook-timestamp"] = str(int(sent_at.timestamp()))
    if attempt is not None and attempt.trigger is Trigger.REPLAY:
        headers["x-webhook-replay"] = "true"
    return headers


def hidden_headers(webhook: Webhook | None, attempt: Attempt | None) -> list[str]:
    """The names of the headers whose values are secrets, as the webhook is defined today."""
    if webhook is None:
        return []
    names = [name for name, _ in webhook.headers]
    if webhook.auth is not None:
        names.append("authorization")
    if attempt is not None and (webhook.secrets or webhook.signing_key):
        names.append("webhook-signature")
    return names


DELIVERY: Final[tuple[Route, ...]] = (show_delivery, download_payload)
