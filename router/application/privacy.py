"""Everything that is held about one number: found, exported, or erased. Reads and writes through ports only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from router.application import queries
from router.application.queries import EventReport
from router.domain.delivery import Delivery, DeliveryId
from router.domain.event import AccountId, EventKey
from router.domain.subject import Subject
from router.ports import Erased, Mention, PrivacyStore, Reader, Replay, RestrictedWebhook, StoredDeadLetter

Tell = Callable[[str], None]
"""Takes a sentence for the person who waits."""
TELL_EVERY = 500


@dataclass(slots=True, kw_only=True)
class Holdings:
    """Where a number was found. Dead letters belong to no account: they are looked at for all accounts only."""

    mentions: list[Mention] = field(default_factory=list)
    dead_letters: list[str] = field(default_factory=list)
    webhooks: list[RestrictedWebhook] = field(default_factory=list)
    replays: list[Replay] = field(default_factory=list)

    @property
    def events(self) -> int:
        return len({mention.event_key for mention in self.mentions})

    @property
    def deliveries(self) -> int:
        return len({identity for mention in self.mentions for identity in mention.delivery_ids})


async def find_holdings(store: PrivacyStore, subject: Subject, account_id: AccountId | None, *, tell: Tell) -> Holdings:
    """All that mentions the number: what the index knows first, then everything that is kept is read."""
    holdings = Holdings()
    seen = _Seen()
    tell("Searching the index of numbers.")
    async for mention in store.mentions_by_key(subject, account_id):
        if seen.adds(mention):
            holdings.mentions.append(mention)
    tell(f"Found {len(holdings.mentions)}; reading every event that is kept.")
    async for mention in store.mentions_in_events(subject, account_id):
        if seen.adds(mention):
            holdings.mentions.append(mention)
    if account_id is None:
        tell("Reading every dead letter that is kept.")
        holdings.dead_letters += [letter_id async for letter_id in store.dead_letters(subject)]
    holdings.webhooks += [webhook async for webhook in store.restrictions(subject, account_id)]
    holdings.replays += [replay async for replay in store.replays(subject, account_id)]
    return holdings


class _Seen:
    """Tells a mention that says something new."""

    def __init__(self) -> None:
        self._events: set[EventKey] = set()
        self._deliveries: set[DeliveryId] = set()

    def adds(self, mention: Mention) -> bool:
        is_new = mention.event_key not in self._events or not self._deliveries.issuperset(mention.delivery_ids)
        self._events.add(mention.event_key)
        self._deliveries.update(mention.delivery_ids)
        return is_new


# --- exporting -------------------------------------------------------------------------------------


Exported = EventReport | Delivery | StoredDeadLetter | RestrictedWebhook | Replay


async def export(reader: Reader, holdings: Holdings) -> AsyncIterator[Exported]:
    """Each event with its payload and its deliveries, whole; deliveries whose event is gone; dead letters; webhooks
    and replays that name the number. What left meanwhile is left out."""
    for mention in holdings.mentions:
        report = await queries.event_report(reader, mention.account_id, mention.event_id)
        if report is not None:
            yield await _whole_report(reader, report)
            continue
        for identity in mention.delivery_ids:
            found = await reader.delivery(identity)
            if found is not None:
                yield found[0]
    for letter_id in holdings.dead_letters:
        letter = await reader.dead_letter(letter_id)
        if letter is not None:
            yield letter
    for webhook in holdings.webhooks:
        yield webhook
    for replay in holdings.replays:
        yield replay


async def _whole_report(reader: Reader, report: EventReport) -> EventReport:
    trace = [replace(line, delivery=await _whole(reader, line.delivery)) for line in report.trace]
    later = [replace(line, delivery=await _whole(reader, line.delivery)) for line in report.later]
    return replace(report, trace=trace, later=later)


async def _whole(reader: Reader, delivery: Delivery | None) -> Delivery | None:
    """With every attempt, where lists leave some out."""
    if delivery is None or len(delivery.attempts) == delivery.attempt_count:
        return delivery
    found = await reader.delivery(delivery.id)
    return found[0] if found else delivery


# --- erasing ---------------------------------------------------------------------------------------


async def erase(store: PrivacyStore, holdings: Holdings, *, now: Callable[[], datetime], tell: Tell) -> Erased:
    """Take payloads, numbers and answers out of all that was found; webhooks stay, their numbers are their account's.

    May be cut short at any point and repeated: what is done is not found again, what is not done is.
    """
    total = Erased()
    for count, mention in enumerate(holdings.mentions, start=1):
        erased = await store.erase_event(mention, now())
        total = _sum(total, erased)
        if count % TELL_EVERY == 0:
            tell(f"{count} of {len(holdings.mentions)} erased.")
    for letter_id in holdings.dead_letters:
        await store.erase_dead_letter(letter_id)
    for replay in holdings.replays:
        await store.erase_replay(replay.id, now())
    return total


def _sum(*parts: Erased) -> Erased:
    return Erased(
        deliveries=sum(part.deliveries for part in parts),
        ended=sum(part.ended for part in parts),
        in_memory=sum(part.in_memory for part in parts),
    )
