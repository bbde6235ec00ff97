"""What administrators change: what is checked, what is written, what is written down, and who was first."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

import pytest

from router.application import editing, rotation
from router.domain.edit import EditPlan, WebhookEdit
from router.domain.egress import EgressPolicy
from router.domain.errors import Conflict, InvalidInput, Outdated
from router.domain.event import AccountId
from router.domain.version import ANY, Seen
from router.domain.webhook import (
    Suspension,
    SuspensionReason,
    WebhookId,
    WebhookState,
)
from router.ports import Registry, StoredAccount
from tests.support.fakes_manage import NOW, FakeStore, auditor
from tests.support.terminal import CRM

LATER = NOW + timedelta(hours=1)
LYON = WebhookEdit(name="CRM Lyon")


def store_with_crm(**changes: Any) -> FakeStore:
    return FakeStore(accounts={AccountId("1042"): True}, definitions={CRM.id: replace(CRM, **changes)})


async def edit(
    store: FakeStore, wanted: WebhookEdit, *, seen: Seen = ANY, registry: Registry | None = None
) -> tuple[str, ...] | None:
    return await editing.edit_webhook(
        store.reader,
        registry or store.registry,
        CRM.id,
        wanted,
        country="FR",
        egress=EgressPolicy(),
        now=LATER,
        audit=auditor(store.audit),
        seen=seen,
    )


async def version(store: FakeStore) -> str:
    webhook = await store.reader.webhook(CRM.id)
    assert webhook is not None
    return webhook.version


@dataclass
class Overtaken:
    """A registry before which somebody else is, so many times, with a change of their own."""

    store: FakeStore
    times: int
    plans: list[EditPlan] = field(default_factory=list)

    async def edit_webhook(self, plan: EditPlan, *, at: Any) -> bool:
        self.plans.append(plan)
        if len(self.plans) <= self.times:
            stored = self.store.definitions[CRM.id]
            self.store.definitions[CRM.id] = replace(stored, url=f"https://crm.example.com/{len(self.plans)}")
        return await self.store.registry.edit_webhook(plan, at=at)


# --- accounts --------------------------------------------------------------------------------------


async def switch(store: FakeStore, account_id: object, *, on: bool, seen: Seen = ANY) -> StoredAccount:
    return await editing.switch_account(
        store.reader, store.registry, account_id, webhooks_enabled=on, audit=auditor(store.audit), seen=seen
    )


async def test_an_account_is_switched_on_and_off() -> None:
    store = FakeStore()

    await switch(store, "1042", on=True)
    assert store.accounts == {"1042": True}

    await switch(store, 1042, on=False)
    assert store.accounts == {"1042": False}, "an integer is its decimal text"


async def test_a_switch_that_changes_nothing_is_not_written_down() -> None:
    store = FakeStore()

    await switch(store, "1042", on=False)
    assert (store.accounts, store.audit.actions) == ({}, []), "an account that was never set is off"

    await switch(store, "1042", on=True)
    await switch(store, "1042", on=True)
    assert store.audit.actions == [("account.switched", "1042", "1042")]
    assert store.audit.written[0].details == {"webhooks_enabled": True}


async def test_a_switch_that_was_seen_otherwise_is_not_touched() -> None:
    store = FakeStore()
    off = (await switch(store, "1042", on=False)).version
    on = (await switch(store, "1042", on=True, seen=[off])).version

    with pytest.raises(Outdated, match="account 1042"):
        await switch(store, "1042", on=True, seen=[off])
    assert (await switch(store, "1042", on=False, seen=[on])).version == off


@pytest.mark.parametrize("account_id", [None, "", True, " 1042", "1042\n", "10\x0042", ["1042"]])
async def test_an_account_id_that_is_none_writes_nothing(account_id: object) -> None:
    store = FakeStore()

    with pytest.raises(InvalidInput, match=r"^account_id: "):
        await switch(store, account_id, on=True)
    assert not store.accounts


# --- editing ---------------------------------------------------------------------------------------


async def test_only_what_differs_is_changed_and_named() -> None:
    store = store_with_crm()

    changed = await edit(store, WebhookEdit(name="CRM Lyon", url=CRM.url, restrict_to=None))

    assert changed == ("name",)
    assert store.definitions[CRM.id] == replace(CRM, name="CRM Lyon", updated_at=LATER)


async def test_the_same_edit_twice_is_one_change() -> None:
    store = store_with_crm()

    assert await edit(store, LYON) == ("name",)
    before = (await version(store), list(store.audit.written))
    assert await edit(store, LYON) == ()

    assert (await version(store), store.audit.written) == before


async def test_entries_name_fields_and_no_values() -> None:
    store = store_with_crm()

    await edit(store, WebhookEdit(url="https://crm.example.com/?token=hush", headers={"X-Key": "hush"}, enabled=False))
    await edit(store, WebhookEdit(enabled=True))

    assert store.audit.actions == [
        ("webhook.edited", "1042", "wh_crm"),
        ("webhook.paused", "1042", "wh_crm"),
        ("webhook.resumed", "1042", "wh_crm"),
    ]
    assert store.audit.written[0].details == {"fields": ["url", "headers"]}
    assert "hush" not in str(store.audit.written)


async def test_what_breaks_a_rule_changes_nothing_and_leaves_no_entry() -> None:
    store = store_with_crm()

    with pytest.raises(InvalidInput, match=r"^url: "):
        await edit(store, WebhookEdit(name="CRM Lyon", url="ftp://crm.example.com"))

    assert store.definitions == {CRM.id: CRM}
    assert not store.audit.written


async def test_what_was_seen_otherwise_is_not_touched() -> None:
    store = store_with_crm()
    seen = await version(store)
    store.definitions[CRM.id] = replace(CRM, name="Of the back office")  # which does not touch updated_at

    with pytest.raises(Outdated, match="webhook wh_crm"):
        await edit(store, LYON, seen=[seen])

    assert store.definitions[CRM.id].name == "Of the back office"
    assert not store.audit.written
    assert await edit(store, LYON, seen=[seen, await version(store)]) == ("name",)


async def test_a_change_of_others_in_between_is_kept() -> None:
    store = store_with_crm()
    others = Overtaken(store, times=2)

    assert await edit(store, LYON, registry=cast("Registry", others)) == ("name",)

    assert store.definitions[CRM.id] == replace(CRM, name="CRM Lyon", url="https://crm.example.com/2", updated_at=LATER)


async def test_a_change_of_others_in_between_is_not_what_was_seen() -> None:
    store = store_with_crm()
    others = Overtaken(store, times=1)

    with pytest.raises(Outdated):
        await edit(store, LYON, seen=[await version(store)], registry=cast("Registry", others))
    assert store.definitions[CRM.id].name == "CRM"


@pytest.mark.parametrize(("times", "is_done"), [(editing.MAX_TRIES - 1, True), (editing.MAX_TRIES, False)])
async def test_who_is_overtaken_again_and_again_is_told(times: int, is_done: bool) -> None:
    store = store_with_crm()
    others = cast("Registry", Overtaken(store, times=times))

    if is_done:
        assert await edit(store, LYON, registry=others) == ("name",)
    else:
        with pytest.raises(Conflict, match="wh_crm") as caught:
            await edit(store, LYON, registry=others)
        assert not isinstance(caught.value, Outdated)


# --- pause, resume, delete -------------------------------------------------------------------------


async def pause(store: FakeStore, webhook_id: WebhookId = CRM.id) -> tuple[str, ...] | None:
    return await editing.pause_webhook(store.reader, store.registry, webhook_id, now=LATER, audit=auditor(store.audit))


async def resume(store: FakeStore, webhook_id: WebhookId = CRM.id, *, seen: Seen = ANY) -> bool:
    return await editing.resume_webhook(
        store.reader, store.registry, webhook_id, now=LATER, audit=auditor(store.audit), seen=seen
    )


async def delete(store: FakeStore, webhook_id: WebhookId = CRM.id, *, seen: Seen = ANY) -> bool:
    return await editing.delete_webhook(store.reader, store.registry, webhook_id, audit=auditor(store.audit), seen=seen)


async def test_pause_and_resume_stamp_the_time_once() -> None:
    store = store_with_crm()

    assert await pause(store) == ("enabled",)
    assert await pause(store) == ()
    assert store.definitions[CRM.id] == replace(CRM, enabled=False, updated_at=LATER)

    assert await resume(store)
    assert store.definitions[CRM.id].state is WebhookState.ACTIVE
    assert [action for action, _, _ in store.audit.actions] == ["webhook.paused", "webhook.resumed"]


async def test_resume_forgets_a_suspension_and_leaves_the_definition_alone() -> None:
    store = store_with_crm()
    store.suspensions[CRM.id] = Suspension(since=NOW, reason=SuspensionReason.FAILING)
    store.failing[CRM.id] = NOW

    assert await resume(store)

    webhook = await store.reader.webhook(CRM.id)
    assert webhook is not None
    assert (webhook.state, webhook.failing_since, webhook.updated_at) == (WebhookState.ACTIVE, None, NOW)


@pytest.mark.parametrize("wanted", [WebhookEdit(url="https://crm.example.com/new"), WebhookEdit(enabled=True)])
async def test_no_edit_lifts_a_suspension(wanted: WebhookEdit) -> None:
    store = store_with_crm(enabled=False)
    store.suspensions[CRM.id] = Suspension(since=NOW, reason=SuspensionReason.GONE)

    assert await edit(store, wanted)

    assert store.suspensions


async def test_a_deleted_webhook_is_gone_with_its_suspension() -> None:
    store = store_with_crm()
    store.suspensions[CRM.id] = Suspension(since=NOW, reason=SuspensionReason.GONE)

    assert await delete(store)

    assert not store.definitions
    assert not store.suspensions
    assert store.audit.actions == [("webhook.deleted", "1042", "wh_crm")]


async def test_what_was_seen_otherwise_is_neither_resumed_nor_deleted_nor_given_new_keys() -> None:
    store = store_with_crm()
    store.suspensions[CRM.id] = Suspension(since=NOW, reason=SuspensionReason.GONE)
    before = store.definitions.copy()
    keys: dict[str, Any] = {"randomness": bytes, "now": LATER, "audit": auditor(store.audit), "seen": ["another"]}

    for act in (
        resume(store, seen=["another"]),
        delete(store, seen=["another"]),
        rotation.rotate_secret(store.reader, store.registry, CRM.id, overlap=timedelta(0), **keys),
        rotation.renew_signing_key(store.reader, store.registry, CRM.id, **keys),
    ):
        with pytest.raises(Outdated):
            await act

    assert store.definitions == before
    assert store.suspensions
    assert not store.audit.written


async def test_an_overlap_that_is_none_leaves_no_entry() -> None:
    store = store_with_crm()

    with pytest.raises(InvalidInput, match=r"^overlap_seconds: "):
        await rotation.rotate_secret(
            store.reader,
            store.registry,
            CRM.id,
            overlap=timedelta(days=31),
            randomness=bytes,
            now=NOW,
            audit=auditor(store.audit),
        )
    assert not store.audit.written


async def test_what_is_not_there_is_said_and_not_written_down() -> None:
    store, nobody = FakeStore(), WebhookId("wh_nobody")

    assert await edit(store, LYON) is None
    assert await pause(store, nobody) is None
    assert not await resume(store, nobody)
    assert not await delete(store, nobody)
    assert not store.audit.written
