"""One account's view of the ports: whatever is asked about another account gives nothing and changes nothing."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from router.application.confinement import confined_audit, confined_reader, confined_registry, confined_replays
from router.domain.edit import plan_switch
from router.domain.errors import OutOfSight
from router.domain.event import AccountId, Event, EventType
from router.domain.principal import Principal
from router.domain.replay import ReplayId, ReplayKind
from router.domain.signing import SigningKey
from router.domain.webhook import WebhookId
from router.ports import (
    AuditEntry,
    AuditFilter,
    AuditLog,
    DeliveryCounts,
    DeliveryFilter,
    PlannedDelivery,
    PlannedEvent,
    Reader,
    Registry,
    ReplayStore,
)
from tests.support.fakes_manage import NOW, FakeAudit, FakeStore, dead_letter, delivery, version
from tests.support.samples import event, replay
from tests.support.terminal import CRM

THEIR_CRM = replace(CRM, version=version(CRM))
OWN, OTHER = AccountId("77"), AccountId("1042")
EVENT = event("evt_1", account_id=OTHER, matched=["wh_crm"])
NOTHING: Final[dict[str, Any]] = {"account_id": None, "event_type": None, "after": None, "limit": 9}
THEIRS: Final[dict[str, Any]] = {**NOTHING, "account_id": OTHER}
OF_1042: Final = DeliveryFilter(account_id=OTHER)

# What is asked, and what comes of it; OutOfSight is raised.
READS: Final[list[tuple[str, Callable[[Reader], Awaitable[object]], object]]] = [
    ("account", lambda reader: reader.account(OTHER), OutOfSight),
    ("webhook", lambda reader: reader.webhook(CRM.id), None),
    ("webhooks_by_id", lambda reader: reader.webhooks_by_id([CRM.id]), {}),
    ("webhooks", lambda reader: reader.webhooks(**NOTHING), []),
    ("webhooks", lambda reader: reader.webhooks(**THEIRS), OutOfSight),
    ("count_webhooks", lambda reader: reader.count_webhooks(account_id=None, event_type=None), 0),
    ("count_webhooks", lambda reader: reader.count_webhooks(account_id=OTHER, event_type=EventType.CALL), OutOfSight),
    ("delivery_counts", lambda reader: reader.delivery_counts([CRM.id]), {CRM.id: DeliveryCounts()}),
    ("delivery", lambda reader: reader.delivery(delivery("dlv_1").id), None),
    ("deliveries", lambda reader: reader.deliveries(DeliveryFilter(), after=None, limit=9), []),
    ("deliveries", lambda reader: reader.deliveries(OF_1042, after=None, limit=9), OutOfSight),
    ("count_deliveries", lambda reader: reader.count_deliveries(DeliveryFilter(webhook_id=CRM.id)), 0),
    ("count_deliveries", lambda reader: reader.count_deliveries(OF_1042), OutOfSight),
    ("event", lambda reader: reader.event(OTHER, "evt_1"), OutOfSight),
    ("events_of_call", lambda reader: reader.events_of_call(OTHER, "c-1", 9), OutOfSight),
    ("deliveries_of_events", lambda reader: reader.deliveries_of_events([EVENT]), {EVENT.key: ()}),
    ("delivery_buckets", lambda reader: reader.delivery_buckets([CRM.id], NOW, timedelta(hours=1)), {CRM.id: ()}),
    ("delivery_summary", lambda reader: reader.delivery_summary(delivery("dlv_1").id), None),
    ("find_events", lambda reader: reader.find_events("evt_1", None, 9), []),
    ("find_events", lambda reader: reader.find_events("evt_1", OTHER, 9), OutOfSight),
    ("find_events_of_call", lambda reader: reader.find_events_of_call("c-1", None, 9), []),
    ("find_events_of_call", lambda reader: reader.find_events_of_call("c-1", OTHER, 9), OutOfSight),
    ("webhooks_at", lambda reader: reader.webhooks_at("crm.example", None, 9), []),
    ("webhooks_at", lambda reader: reader.webhooks_at("crm.example", OTHER, 9), OutOfSight),
    ("failing_webhooks", lambda reader: reader.failing_webhooks(9), OutOfSight),
    ("suspended_webhooks", lambda reader: reader.suspended_webhooks(9), OutOfSight),
    ("pending", lambda reader: reader.pending(NOW), OutOfSight),
    ("dead_letter_counts", lambda reader: reader.dead_letter_counts(), OutOfSight),
    ("dead_letter_summary", lambda reader: reader.dead_letter_summary("dl_1"), OutOfSight),
    ("dead_letters", lambda reader: reader.dead_letters(after=None, limit=9), OutOfSight),
    ("count_dead_letters", lambda reader: reader.count_dead_letters(), OutOfSight),
    ("dead_letter", lambda reader: reader.dead_letter("dl_1"), OutOfSight),
]
WRITES: Final[list[tuple[str, Callable[[Registry], Awaitable[object]], object]]] = [
    ("set_account", lambda registry: registry.set_account(OTHER, webhooks_enabled=False), OutOfSight),
    ("add_webhook", lambda registry: registry.add_webhook(replace(CRM, id=WebhookId("wh_new")), None), OutOfSight),
    ("edit_webhook", lambda registry: registry.edit_webhook(plan_switch(THEIR_CRM, enabled=False), at=NOW), False),
    ("unsuspend", lambda registry: registry.unsuspend(CRM.id), False),
    ("delete_webhook", lambda registry: registry.delete_webhook(CRM.id), False),
    (
        "rotate_secret",
        lambda registry: registry.rotate_secret(CRM.id, "whsec_bmV3", at=NOW, overlap=timedelta(days=1)),
        False,
    ),
    ("set_signing_key", lambda registry: registry.set_signing_key(CRM.id, SigningKey(b"k" * 32), at=NOW), False),
    ("mark_requeued", lambda registry: registry.mark_requeued("dl_1", NOW), OutOfSight),
]


RUNNING: Final = replay("rpl_1", account_id=OTHER)
ALL: Final = DeliveryFilter()
TEST: Final = PlannedEvent(
    event=Event(
        account_id=OTHER,
        event_id="evt_test_1",
        type=EventType.CALL,
        name=None,
        occurred_at=None,
        received_at=NOW,
        call_id=None,
        sequence=None,
        tracking_number=None,
        user_id=None,
        number_keys=(),
        payload=b"{}",
        source="test",
    ),
    born_at=NOW,
    not_after=None,
    account_enabled=True,
    trace=(),
    deliveries=[PlannedDelivery(webhook_id=CRM.id, url=CRM.url, leased=False)],
)
REPLAYS: Final[list[tuple[str, Callable[[ReplayStore], Awaitable[object]], object]]] = [
    ("replay_delivery", lambda replays: replays.replay_delivery(delivery("dlv_1").id, NOW), False),
    ("add_test", lambda replays: replays.add_test(TEST, NOW), OutOfSight),
    ("count_matching", lambda replays: replays.count_matching(ReplayKind.DELIVERIES, ALL, 9, NOW), OutOfSight),
    ("count_matching", lambda replays: replays.count_matching(ReplayKind.MISSING, OF_1042, 9, NOW), OutOfSight),
    ("count_running", lambda replays: replays.count_running(OTHER, 9), OutOfSight),
    ("count_running", lambda replays: replays.count_running(None, 9), OutOfSight),
    ("add", lambda replays: replays.add(replay("rpl_2", account_id=OTHER)), OutOfSight),
    ("add", lambda replays: replays.add(replay("rpl_2", account_id=None)), OutOfSight),
    ("replay", lambda replays: replays.replay(RUNNING.id), None),
    ("replay", lambda replays: replays.replay(replay("rpl_all").id), None),
    ("replays", lambda replays: replays.replays(account_id=None, after=None, limit=9), []),
    ("replays", lambda replays: replays.replays(account_id=OTHER, after=None, limit=9), OutOfSight),
    ("count_replays", lambda replays: replays.count_replays(account_id=None), 0),
    ("count_replays", lambda replays: replays.count_replays(account_id=OTHER), OutOfSight),
    ("cancel_replay", lambda replays: replays.cancel_replay(RUNNING.id, NOW), False),
]
AUDITS: Final[list[tuple[str, Callable[[AuditLog], Awaitable[object]], object]]] = [
    ("write", lambda audit: audit.write(entry(OTHER)), OutOfSight),
    ("write", lambda audit: audit.write(entry(None)), OutOfSight),
    ("entries", lambda audit: audit.entries(AuditFilter(), after=None, limit=9), []),
    ("entries", lambda audit: audit.entries(AuditFilter(account_id=OTHER), after=None, limit=9), OutOfSight),
    ("count_entries", lambda audit: audit.count_entries(AuditFilter()), 0),
    ("count_entries", lambda audit: audit.count_entries(AuditFilter(account_id=OTHER)), OutOfSight),
]


def entry(account_id: AccountId | None) -> AuditEntry:
    return AuditEntry(at=NOW, actor="token:x", action="webhook.deleted", account_id=account_id)


def filled() -> FakeStore:
    """Everything is account 1042's, but for a replay of no single account."""
    store = FakeStore(
        accounts={OTHER: True},
        definitions={CRM.id: CRM},
        failing={CRM.id: NOW},
        log=[(delivery("dlv_1"), b"{}")],
        letters={"dl_1": dead_letter("dl_1")},
        trail=FakeAudit(written=[entry(OTHER), entry(None)]),
    )
    store.replays.kept = {RUNNING.id: RUNNING, ReplayId("rpl_all"): replay("rpl_all", account_id=None)}
    return store


def principal(account_id: AccountId | None) -> Principal:
    return Principal(name="token:x", scopes=frozenset(), account_id=account_id)


def methods(port: type[object]) -> set[str]:
    return {name for name, _ in inspect.getmembers(port, inspect.isfunction) if not name.startswith("_")}


def test_every_method_of_the_ports_is_tried() -> None:
    assert {name for name, _, _ in READS} == methods(Reader)
    assert {name for name, _, _ in WRITES} == methods(Registry)
    assert {name for name, _, _ in AUDITS} == methods(AuditLog)
    assert {name for name, _, _ in REPLAYS} == methods(ReplayStore)


async def outcome(asked: Awaitable[object]) -> object:
    try:
        return await asked
    except OutOfSight:
        return OutOfSight


@pytest.mark.parametrize(("name", "ask", "expected"), READS)
async def test_reader_shows_nothing_of_others(
    name: str, ask: Callable[[Reader], Awaitable[object]], expected: object
) -> None:
    assert await outcome(ask(confined_reader(filled().reader, principal(OWN)))) == expected, name


@pytest.mark.parametrize(("name", "ask", "expected"), WRITES)
async def test_registry_changes_nothing_of_others(
    name: str, ask: Callable[[Registry], Awaitable[object]], expected: object
) -> None:
    store = filled()

    assert await outcome(ask(confined_registry(store.registry, store.reader, principal(OWN)))) == expected, name
    assert store == filled()


@pytest.mark.parametrize(("name", "ask", "expected"), REPLAYS)
async def test_nothing_of_others_is_replayed(
    name: str, ask: Callable[[ReplayStore], Awaitable[object]], expected: object
) -> None:
    store = filled()

    assert await outcome(ask(confined_replays(store.replays, store.reader, principal(OWN)))) == expected, name
    assert store == filled()


@pytest.mark.parametrize(("name", "ask", "expected"), AUDITS)
async def test_audit_trail_shows_and_takes_nothing_of_others(
    name: str, ask: Callable[[AuditLog], Awaitable[object]], expected: object
) -> None:
    store = filled()

    assert await outcome(ask(confined_audit(store.audit, principal(OWN)))) == expected, name
    assert store == filled()


async def test_whoever_sees_every_account_works_with_the_ports_themselves() -> None:
    store = filled()
    reader, registry = store.reader, store.registry

    assert confined_reader(reader, principal(None)) is reader
    assert confined_registry(registry, reader, principal(None)) is registry
    assert confined_audit(store.audit, principal(None)) is store.audit
