"""What an administrator does: add webhooks, requeue dead letters, publish an event by hand.

Gathers, decides and applies through ports. Everything that was typed by somebody is checked here, and a rule that it
breaks is an InvalidInput that names the field.
"""

from __future__ import annotations

import json
from base64 import b32encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from router.application.audit import Auditor
from router.domain.audit import AuditAction
from router.domain.definition import (
    RawDefinition,
    check_account_id,
    check_current,
    check_definition,
    check_event_type,
    check_name,
    check_new_id,
)
from router.domain.egress import EgressPolicy
from router.domain.errors import InvalidInput
from router.domain.event import AccountId, EventType
from router.domain.headers import Headers, with_stored
from router.domain.signing import SECRET_BYTES, SEED_BYTES, Secret, SigningKey, format_secret
from router.domain.webhook import Webhook, WebhookId
from router.ports import (
    EXCHANGE_HEADER,
    ROUTING_KEY_HEADER,
    MessageProperties,
    Position,
    Publisher,
    Reader,
    Registry,
    StoredDeadLetter,
)

Randomness = Callable[[int], bytes]
"""Draws that many unpredictable bytes, like `secrets.token_bytes`."""

ID_BYTES: Final = 15
"""120 random bits: 24 characters of base32, none of them padding."""
MAX_ROUTING_KEY_BYTES: Final = 255
"""Routing keys are AMQP 0-9-1 short strings."""
PAGE: Final = 200
"""Dead letters read at once."""


# --- webhooks --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDraft:
    """A webhook that somebody wants, as it was written; nothing of it is checked yet."""

    account_id: object
    name: object
    url: object
    event_type: object
    enabled: object = True
    restrict_to: object = None
    headers: object = field(default=None, repr=False)
    auth: object = field(default=None, repr=False)
    client_certificate: object = field(default=None, repr=False)
    asymmetric: bool = False
    """Whether it gets an ed25519 key (v1a) beside its secret."""
    id: object = None
    """Chosen by whoever asks; None: we make one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """A webhook that was stored, and its secret in the only moment in which it may be shown."""

    webhook: Webhook
    secret: str = field(repr=False)


async def add_webhook(
    registry: Registry,
    draft: WebhookDraft,
    *,
    country: str,
    egress: EgressPolicy,
    randomness: Randomness,
    now: datetime,
    audit: Auditor,
) -> NewWebhook:
    """Store a new webhook with a secret of its own; its numbers are read as dialled in `country`.

    Raises InvalidInput for the first rule that the draft breaks, where `egress` refuses its URL, and where its id is
    taken.
    """
    key = randomness(SECRET_BYTES)
    webhook = _webhook_from(draft, key, country=country, egress=egress, randomness=randomness, now=now)
    new = NewWebhook(webhook=webhook, secret=format_secret(key))

    await audit.note(AuditAction.WEBHOOK_CREATED, account_id=webhook.account_id, target=webhook.id)
    version = await registry.add_webhook(new.webhook, new.secret)
    return replace(new, webhook=replace(new.webhook, version=version))


def _webhook_from(
    draft: WebhookDraft, key: bytes, *, country: str, egress: EgressPolicy, randomness: Randomness, now: datetime
) -> Webhook:
    definition = check_definition(
        RawDefinition(
            account_id=typed_account_id(draft.account_id),
            url=draft.url,
            event_type=draft.event_type,
            enabled=draft.enabled,
            restrict_to=draft.restrict_to,
            headers=draft.headers,
            auth=draft.auth,
            client_certificate=draft.client_certificate,
        ),
        country,
        egress,
    )
    check_current(definition.client_certificate, now)
    _check_shown(definition.headers)
    return Webhook(
        id=new_webhook_id(randomness) if draft.id is None else check_new_id(draft.id),
        account_id=definition.account_id,
        name=check_name(draft.name),
        url=definition.url,
        event_type=definition.event_type,
        enabled=definition.enabled,
        restriction=definition.restriction,
        secrets=(Secret(key),),
        signing_key=SigningKey(randomness(SEED_BYTES)) if draft.asymmetric else None,
        headers=definition.headers,
        auth=definition.auth,
        client_certificate=definition.client_certificate,
        created_at=now,
        updated_at=now,
    )


def _check_shown(headers: Headers) -> None:
    try:
        with_stored(headers, ())
    except ValueError as error:
        raise InvalidInput("headers", str(error)) from None


def new_webhook_id(randomness: Randomness) -> WebhookId:
    return WebhookId("wh_" + b32encode(randomness(ID_BYTES)).decode("ascii").lower())


def typed_account_id(value: object) -> AccountId:
    """An account id for a new document: a blank that nobody sees would make it another account."""
    account_id = check_account_id(value)
    if account_id != account_id.strip() or not account_id.isprintable():
        raise InvalidInput("account_id", "must be printable, without blanks around it")
    return account_id


# --- dead letters ----------------------------------------------------------------------------------


async def requeueable_dead_letters(reader: Reader, *, reason: str | None = None) -> list[str]:
    """Ids of the dead letters that were not requeued yet, the oldest first; `reason` narrows them down."""
    ids: list[str] = []
    after: Position | None = None
    while page := await reader.dead_letters(after=after, limit=PAGE):
        ids += [letter.id for letter in page if letter.requeued_at is None and reason in (None, letter.reason)]
        after = Position(at=page[-1].received_at, id=page[-1].id)
    ids.reverse()
    return ids


async def requeue_dead_letter(
    reader: Reader,
    registry: Registry,
    publisher: Publisher,
    letter_id: str,
    *,
    queue_of_source: Mapping[str, str],
    now: datetime,
    audit: Auditor,
) -> StoredDeadLetter | None:
    """Send a dead letter, byte for byte and with its properties, to the queue that it came from.

    None where there is no such dead letter. Raises InvalidInput where it cannot be sent: its source is not in
    `queue_of_source`, or too long a body was cut when it was stored.
    """
    letter = await reader.dead_letter(letter_id)
    if letter is None:
        return None

    queue = queue_of_source.get(letter.source)
    if queue is None:
        raise InvalidInput("source", f"the configuration has no source {letter.source!r}, so no queue is known")
    if letter.raw is None:
        raise InvalidInput("body", "it is gone: retention.payload_days is over, or it was erased")
    if len(letter.raw.body) < letter.size:
        raise InvalidInput("body", "only its beginning was kept; the publisher has to send it again")

    await audit.note(AuditAction.DEAD_LETTER_REQUEUED, target=letter_id, source=letter.source)
    # Published first: a crash in between leaves a letter that looks as if it had not been requeued. Requeued
    # twice, it is one event still, by its id; marked first, it would be lost.
    raw = letter.raw
    origin = {EXCHANGE_HEADER: raw.exchange, ROUTING_KEY_HEADER: raw.routing_key}
    properties = replace(raw.properties, headers={**raw.properties.headers, **origin})
    await publisher.publish(exchange="", routing_key=queue, body=raw.body, properties=properties)
    await registry.mark_requeued(letter_id, now)
    return replace(letter, requeued_at=now)


# --- publishing by hand ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A source of the configuration, as its publisher sees it. `is_topic` says that `*` and `#` are wildcards."""

    source: str
    event_type: EventType
    exchange: str
    binding_keys: tuple[str, ...]
    is_topic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What was sent where. `event_id` and `account_id` as far as a body in the default envelope shows them."""

    source: str
    exchange: str
    routing_key: str
    size: int
    event_id: str | None
    account_id: str | None
    is_object: bool
    """False: the router will keep it as a dead letter, unless the source has decoding steps."""


async def publish_event(
    publisher: Publisher,
    routes: Sequence[Route],
    body: bytes,
    *,
    audit: Auditor,
    source: str | None = None,
    event_type: str | None = None,
    routing_key: str | None = None,
) -> Published:
    """Publish `body` as it is, to the exchange of a source: the named one, or that of the type given or read.

    Returns once the broker has confirmed it. Raises InvalidInput where no source can be told.
    """
    envelope = _envelope(body)
    wanted_type = check_event_type(event_type) if event_type is not None else None
    route = choose_route(routes, source=source, event_type=wanted_type or envelope.get("type"))
    if routing_key is None:
        routing_key = routing_key_for(route, wished=_text(envelope.get("name")) or route.event_type.value)
    if len(routing_key.encode()) > MAX_ROUTING_KEY_BYTES:
        raise InvalidInput("routing_key", f"must be at most {MAX_ROUTING_KEY_BYTES} bytes long")
    published = Published(
        source=route.source,
        exchange=route.exchange,
        routing_key=routing_key,
        size=len(body),
        event_id=_text(envelope.get("id")),
        account_id=_text(envelope.get("account_id")),
        is_object=bool(envelope),
    )
    properties = MessageProperties(content_type="application/json", type=wanted_type.value if wanted_type else None)

    await audit.note(
        AuditAction.EVENT_PUBLISHED,
        account_id=published.account_id,
        target=published.event_id,
        source=published.source,
        size=published.size,
    )
    await publisher.publish(
        exchange=published.exchange, routing_key=published.routing_key, body=body, properties=properties
    )
    return published


def choose_route(routes: Sequence[Route], *, source: str | None, event_type: object) -> Route:
    """The one route that is meant. Raises InvalidInput where there is none, or more than one."""
    if source is not None:
        found = [route for route in routes if route.source == source]
        if not found:
            names = ", ".join(route.source for route in routes)
            raise InvalidInput("source", f"the configuration has no source {source!r}; it has {names}")
        return found[0]
    found = [route for route in routes if route.event_type == event_type]
    if not found:
        raise InvalidInput("type", "cannot be told from the body; say call, cdr or user, or name the source")
    if len(found) > 1:
        names = ", ".join(route.source for route in found)
        raise InvalidInput("source", f"several sources carry {found[0].event_type} events, name one of {names}")
    return found[0]


def routing_key_for(route: Route, *, wished: str) -> str:
    """A key that the source's queue is bound by: `wished` where all are, else one that fits its first binding."""
    if "#" in route.binding_keys or not route.is_topic:
        return wished if route.is_topic else route.binding_keys[0]
    words = (word.replace("*", "any") for word in route.binding_keys[0].split(".") if word != "#")
    return ".".join(words)


def _envelope(body: bytes) -> Mapping[str, object]:
    """The top level of a JSON object; empty for anything else. Numbers stay text: none is too large."""
    try:
        content = json.loads(body, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _text(value: object) -> str | None:
    """What is fit to be shown and to be a routing key; half a surrogate pair, which JSON can spell, is not."""
    return value if isinstance(value, str) and value and value.isprintable() else None
