"""One box for whatever somebody has at hand: says what a text may be, and finds that.

Reads through `ports.Reader`; what it finds carries neither numbers nor payloads.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote, urlsplit

from router.domain.delivery import Delivery, DeliveryId
from router.domain.errors import InvalidInput, OutOfSight
from router.domain.event import MAX_ID_LENGTH, AccountId
from router.domain.numbers import search_prefix
from router.domain.replay import ReplayId
from router.domain.webhook import Webhook, WebhookId
from router.ports import DeliveryFilter, FoundEvent, Reader, ReplayStore

MAX_SEARCH_LENGTH: Final = 2_048
"""Characters of what is searched: a URL is the longest that there is to paste."""
MAX_HITS: Final = 20
"""Shown of each kind."""
MIN_HOST_LENGTH: Final = 4

_DELIVERY: Final = re.compile(r"\bdlv_\w{1,64}\b", re.ASCII)
_LETTER: Final = re.compile(r"\bdl_\w{1,64}\b", re.ASCII)
_REPLAY: Final = re.compile(r"\brpl_\w{1,64}\b", re.ASCII)
_HOST: Final = re.compile(r"(?:[a-z0-9_\-]+\.)+[a-z][a-z0-9\-]*[a-z0-9](?::[0-9]{1,5})?")
_PHONE_SCHEME: Final = re.compile(r"(?:tel|sips?|callto):", re.IGNORECASE)
_HAS_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]")
_AROUND: Final = " \t\r\n\u00a0\u200b\u200e\u200f\u202a\u202c\ufeff\"'`<>«»“”,;"
"""What comes along when something is copied out of a mail or a chat."""


class SearchKind(StrEnum):
    """What a text may be."""

    DELIVERY = "delivery"
    CALL = "call"
    EVENT = "event"
    NUMBER = "number"
    USER = "user"
    WEBHOOK = "webhook"
    HOST = "host"
    ACCOUNT = "account"
    DEAD_LETTER = "dead_letter"
    REPLAY = "replay"


class HitKind(StrEnum):
    """What was found."""

    DELIVERY = "delivery"
    CALL = "call"
    EVENT = "event"
    WEBHOOK = "webhook"
    ACCOUNT = "account"
    DEAD_LETTER = "dead_letter"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """One thing that a text may be. `value` is the text as that thing is looked up."""

    kind: SearchKind
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One thing that was found. `name` is the event's or the webhook's, `status` the delivery's or the webhook's, or
    whether an event matched; `at` when it was received or created."""

    kind: HitKind
    id: str
    account_id: AccountId | None
    name: str | None = None
    status: str | None = None
    at: datetime | None = None
    webhook_id: WebhookId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchGroup:
    """What was found where the text is taken for one thing, newest first; `has_more` than MAX_HITS."""

    kind: SearchKind
    hits: Sequence[Hit]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchReport:
    """`tried` says what the text was taken for; only what was found has a group."""

    tried: Sequence[SearchKind]
    groups: Sequence[SearchGroup]

    @property
    def sole_hit(self) -> Hit | None:
        """The hit, where there is but one."""
        hits = {(hit.kind, hit.account_id, hit.id): hit for group in self.groups for hit in group.hits}
        is_all = len(hits) == 1 and not any(group.has_more for group in self.groups)
        return next(iter(hits.values())) if is_all else None


_OURS: Final = ((SearchKind.DELIVERY, _DELIVERY), (SearchKind.DEAD_LETTER, _LETTER), (SearchKind.REPLAY, _REPLAY))


# --- what a text may be ----------------------------------------------------------------------------


def understand(text: str, country: str) -> list[Guess]:
    """What a text may be, the likeliest first. Numbers are read as dialled in `country`. Raises InvalidInput for what
    nothing can be called."""
    text = text.strip(_AROUND)
    if not text:
        raise InvalidInput("q", "must not be empty")
    if len(text) > MAX_SEARCH_LENGTH:
        raise InvalidInput("q", f"must be no longer than {MAX_SEARCH_LENGTH} characters")
    if _HAS_CONTROLS.search(text):
        raise InvalidInput("q", "must not hold control characters")
    for kind, pattern in _OURS:
        # Wherever it stands: the addresses of our own pages end so.
        if (found := pattern.search(text)) is not None:
            return [Guess(kind=kind, value=found[0])]
    if (host := _host(text)) is not None:
        return [Guess(kind=SearchKind.HOST, value=host), *(_ids(text) if "://" not in text else ())]
    number = _number(text, country)
    ids = [] if number is not None and not text.isalnum() else _ids(text)
    return [*([Guess(kind=SearchKind.NUMBER, value=number)] if number is not None else []), *ids]


def _ids(text: str) -> list[Guess]:
    """Publishers and back offices choose ids, so any text may be one."""
    if len(text) > MAX_ID_LENGTH:
        return []
    kinds = (SearchKind.CALL, SearchKind.EVENT, SearchKind.WEBHOOK, SearchKind.USER, SearchKind.ACCOUNT)
    return [Guess(kind=kind, value=text) for kind in kinds]


def _number(text: str, country: str) -> str | None:
    """The prefix of the search key, where a text is written as numbers are."""
    spoken = _PHONE_SCHEME.match(text)
    if spoken is not None:
        text = unquote(text[spoken.end() :]).partition("@")[0].partition(";")[0]
    try:
        return search_prefix(text, country)
    except ValueError:
        return None


def _host(text: str) -> str | None:
    """The host of a URL, or a text that looks like one, in lower case, with the port where one is written."""
    lowered = text.lower()
    try:
        if "://" in lowered:
            parts = urlsplit(lowered)
            host = parts.hostname or ""
            host = f"[{host}]" if ":" in host else host
            return f"{host}:{parts.port}" if parts.port is not None else host or None
        if _is_address(lowered):
            return lowered
    except ValueError:
        return None
    is_host = len(lowered) >= MIN_HOST_LENGTH and _HOST.fullmatch(lowered.partition("/")[0])
    return lowered.partition("/")[0] if is_host else None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


# --- finding it ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where is looked."""

    reader: Reader
    replays: ReplayStore


async def search(sources: Sources, text: str, *, account_id: AccountId | None, country: str) -> SearchReport:
    """Whatever `text` may be, looked for in one account or in all that the sources see. Raises InvalidInput."""
    guesses = understand(text, country)
    if account_id is not None:
        await sources.reader.account(account_id)  # whoever may not see it, is told so by this
    groups = []
    for guess in guesses:
        try:
            if guess.kind is SearchKind.REPLAY:
                hits = await _by_replay(sources.replays, guess.value, account_id)
            else:
                hits = await _FINDERS[guess.kind](sources.reader, guess.value, account_id)
        except OutOfSight:  # another account's id, or what belongs to none
            continue
        if hits:
            groups.append(SearchGroup(kind=guess.kind, hits=hits[:MAX_HITS], has_more=len(hits) > MAX_HITS))
    return SearchReport(tried=[guess.kind for guess in guesses], groups=groups)


async def _deliveries(reader: Reader, where: DeliveryFilter) -> list[Hit]:
    return [_delivery_hit(found) for found in await reader.deliveries(where, after=None, limit=MAX_HITS + 1)]


async def _by_delivery(reader: Reader, value: str, account_id: AccountId | None) -> list[Hit]:
    found = await reader.delivery_summary(DeliveryId(value))
    return [_delivery_hit(found)] if found is not None and account_id in (None, found.account_id) else []


async def _by_event(reader: Reader, value: str, account_id: AccountId | None) -> list[Hit]:
    where = DeliveryFilter(account_id=account_id, event_id=value)
    deliveries = await reader.deliveries(where, after=None, limit=MAX_HITS + 1)
    events: list[FoundEvent] = []
    # Deliveries know the accounts; where there is none, the event matched nothing, and each account is asked.
    accounts: set[AccountId | None] = {found.account_id for found in deliveries}
    for account in accounts or {account_id}:
        events += await reader.find_events(value, account, MAX_HITS + 1)
    return [_event_hit(event) for event in events] or [_delivery_hit(found) for found in deliveries]


async def _by_call(reader: Reader, value: str, account_id: AccountId | None) -> list[Hit]:
    last: dict[AccountId, FoundEvent] = {}
    for event in await reader.find_events_of_call(value, account_id, MAX_HITS + 1):
        known = last.get(event.account_id)
        if known is None or known.received_at < event.received_at:
            last[event.account_id] = event
    return [
        Hit(kind=HitKind.CALL, id=value, account_id=event.account_id, name=event.name, at=event.received_at)
        for event in last.values()
    ]


async def _by_number(reader: Reader, value: str, account_id: AccountId | None) -> list[Hit]:
    return await _deliveries(reader, DeliveryFilter(account_id=account_id, number_prefix=value))


async def _by_user(reader: Reader, value: str, account_id: AccountId | None) -> list[Hit]:
    return await _deliveries(reader, DeliveryFilter(account_id=account_id, user_id=value))


async def _by_webhook(reader: Reader, value: str, account_id: AccountId | None) -> list[Hit]:
    webhook = await reader.webhook(WebhookId(value))
    return [_webhook_hit(webhook)] if webhook is not None and account_id in (None, webhook.account_id) else []


async def _by_host(reader: Reader, value: str, account_id: AccountId | None) -> list[Hit]:
    return [_webhook_hit(webhook) for webhook in await reader.webhooks_at(value, account_id, MAX_HITS + 1)]


async def _by_account(reader: Reader, value: str, account_id: AccountId | None) -> list[Hit]:
    wanted = AccountId(value)
    if account_id not in (None, wanted):
        return []
    account = await reader.account(wanted)
    # One that was never switched may have webhooks all the same.
    if account is None and not await reader.webhooks(account_id=wanted, event_type=None, after=None, limit=1):
        return []
    is_on = account is not None and account.webhooks_enabled
    return [Hit(kind=HitKind.ACCOUNT, id=value, account_id=wanted, status="enabled" if is_on else "disabled")]


async def _by_letter(reader: Reader, value: str, _: AccountId | None) -> list[Hit]:
    letter = await reader.dead_letter_summary(value)
    if letter is None:
        return []
    return [
        Hit(kind=HitKind.DEAD_LETTER, id=letter.id, account_id=None, status=letter.reason, at=letter.received_at),
    ]


async def _by_replay(replays: ReplayStore, value: str, account_id: AccountId | None) -> list[Hit]:
    replay = await replays.replay(ReplayId(value))
    if replay is None or account_id not in (None, replay.where.account_id):
        return []
    return [
        Hit(
            kind=HitKind.REPLAY,
            id=replay.id,
            account_id=replay.where.account_id,
            status=replay.state.value,
            at=replay.created_at,
        )
    ]


_FINDERS: Final[Mapping[SearchKind, Callable[[Reader, str, AccountId | None], Awaitable[list[Hit]]]]] = {
    SearchKind.DELIVERY: _by_delivery,
    SearchKind.CALL: _by_call,
    SearchKind.EVENT: _by_event,
    SearchKind.NUMBER: _by_number,
    SearchKind.USER: _by_user,
    SearchKind.WEBHOOK: _by_webhook,
    SearchKind.HOST: _by_host,
    SearchKind.ACCOUNT: _by_account,
    SearchKind.DEAD_LETTER: _by_letter,
}


def _delivery_hit(found: Delivery) -> Hit:
    return Hit(
        kind=HitKind.DELIVERY,
        id=found.id,
        account_id=found.account_id,
        name=found.event_name,
        status=found.status.value,
        at=found.created_at,
        webhook_id=found.webhook_id,
    )


def _event_hit(found: FoundEvent) -> Hit:
    return Hit(
        kind=HitKind.EVENT,
        id=found.event_id,
        account_id=found.account_id,
        name=found.name,
        status="matched" if found.is_matched else "unmatched",
        at=found.received_at,
    )


def _webhook_hit(found: Webhook) -> Hit:
    return Hit(
        kind=HitKind.WEBHOOK,
        id=found.id,
        account_id=found.account_id,
        name=found.name,
        status=found.state.value,
        at=found.created_at,
        webhook_id=found.id,
    )
