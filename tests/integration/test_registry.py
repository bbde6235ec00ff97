"""What a registry promises, on the store in memory and on the real one with both of its drivers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
import pytest
import pytest_asyncio
import trustme

from router.adapters.mongo.dead_letters import MongoDeadLetters
from router.adapters.mongo.definitions import MongoDefinitions
from router.adapters.mongo.driver import Database, open_database
from router.adapters.mongo.indexes import ensure_indexes
from router.adapters.mongo.reader import MongoReader
from router.adapters.mongo.registry import MongoRegistry
from router.adapters.mongo.resilience import Persistent, StoreHealth
from router.adapters.mongo.retention import Retention
from router.adapters.mongo.sealing import sealed
from router.adapters.mongo.versions import MIN_KEY_BYTES, VERSION_LENGTH, exactly, version_of
from router.adapters.mongo.webhooks import webhook_document
from router.domain.credentials import BasicAuth, BearerAuth, OAuth2Auth, check_client_certificate
from router.domain.edit import EditPlan, WebhookEdit, plan_edit
from router.domain.egress import EgressPolicy
from router.domain.errors import ConfigurationRefused, DependencyUnavailable, InvalidInput, Outdated
from router.domain.event import AccountId, EventType, Rejection, RejectionReason
from router.domain.signing import Secret, SigningKey, format_secret
from router.domain.webhook import (
    Suspension,
    SuspensionReason,
    TrackingNumberRestriction,
    UserRestriction,
    Webhook,
    WebhookId,
    WebhookState,
)
from router.ports import NO_KEYS, DeadLetter, Reader, Registry
from tests.support.fakes_manage import NOW, FakeStore, dead_letter
from tests.support.keys import ring
from tests.support.stored import StoredThings

ACCOUNT = AccountId("1042")
CRM = Webhook(
    id=WebhookId("wh_crm"),
    account_id=ACCOUNT,
    name="CRM – accueil",
    url="https://crm.example.com/hook",
    event_type=EventType.CALL,
    enabled=True,
    restriction=TrackingNumberRestriction(numbers=frozenset({"+33199001234", "+33465710042"})),
    secrets=(Secret(b"secret"),),
    headers=(("X-Team", "sales"), ("x.$dotted", "a b")),
    created_at=NOW,
    updated_at=NOW,
)
SECRET = "whsec_c2VjcmV0"
LATER = NOW + timedelta(minutes=5)
LEAF = trustme.CA().issue_cert("client.example.com", common_name="router")


@dataclass(frozen=True)
class Place:
    """Where a suite runs: the registry, a reader that sees what it wrote, and the router's own hand on the store."""

    registry: Registry
    reader: Reader
    fake: FakeStore | None
    database: Database | None

    async def suspend(self, webhook_id: WebhookId) -> None:
        suspension = Suspension(since=NOW, reason=SuspensionReason.FAILING)
        if self.fake is not None:
            self.fake.suspensions[webhook_id] = suspension
            self.fake.failing[webhook_id] = NOW
        elif self.database is not None:
            router = MongoDefinitions(self.database, Persistent(StoreHealth()), "FR")
            await router.suspend(webhook_id, suspension)
            await router.mark_failing(webhook_id, NOW)

    async def bury_one(self) -> str:
        """The id of a dead letter that is there."""
        letter = dead_letter("dl_1")
        if self.fake is not None:
            self.fake.letters[letter.id] = letter
        elif self.database is not None and letter.raw is not None:
            rejection = Rejection(reason=RejectionReason.NOT_JSON, detail=letter.detail)
            keep = Retention(payload=timedelta(days=30), log=timedelta(days=90))
            router = MongoDeadLetters(self.database, Persistent(StoreHealth()), keep)
            await router.bury([DeadLetter(raw=letter.raw, rejection=rejection)])
        (found,) = await self.reader.dead_letters(after=None, limit=10)
        return found.id


@pytest_asyncio.fixture(params=["fake", "motor", "pymongo"])
async def place(request: pytest.FixtureRequest, mongo_url: str, mongo_database: str) -> AsyncIterator[Place]:
    if request.param == "fake":
        fake = FakeStore()
        yield Place(registry=fake.registry, reader=fake.reader, fake=fake, database=None)
        return
    database = open_database(mongo_url, mongo_database, request.param)
    try:
        await ensure_indexes(database)
        reader = MongoReader(database, "FR")
        yield Place(registry=MongoRegistry(database), reader=reader, fake=None, database=database)
    finally:
        await database.close()


# --- accounts --------------------------------------------------------------------------------------


async def test_an_account_is_what_was_set_last(place: Place) -> None:
    assert await place.reader.account(ACCOUNT) is None

    for enabled in (True, True, False):
        await place.registry.set_account(ACCOUNT, webhooks_enabled=enabled)

        account = await place.reader.account(ACCOUNT)
        assert account is not None
        assert account.webhooks_enabled is enabled


# --- webhooks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "webhook",
    [
        CRM,
        replace(CRM, enabled=False, restriction=None, headers=()),
        replace(CRM, event_type=EventType.USER, restriction=UserRestriction(user_id="u-17")),
    ],
)
async def test_a_webhook_is_read_as_it_was_added(place: Place, webhook: Webhook) -> None:
    await place.registry.add_webhook(webhook, SECRET)

    assert await place.reader.webhook(webhook.id) == webhook


async def test_adding_the_same_again_is_a_repetition_after_a_lost_reply(place: Place) -> None:
    await place.registry.add_webhook(CRM, SECRET)
    await place.registry.add_webhook(CRM, SECRET)

    assert await place.reader.count_webhooks(account_id=ACCOUNT, event_type=None) == 1


async def test_an_id_that_is_taken_is_refused_and_the_first_one_stays(place: Place) -> None:
    await place.registry.add_webhook(CRM, SECRET)

    with pytest.raises(InvalidInput, match=r"^id: wh_crm "):
        await place.registry.add_webhook(replace(CRM, name="Another", created_at=LATER), "whsec_b3RoZXI=")
    assert await place.reader.webhook(CRM.id) == CRM


async def stored_crm(place: Place, webhook: Webhook = CRM) -> Webhook:
    """The webhook as it is read once it was added, with its version."""
    version = await place.registry.add_webhook(webhook, SECRET)
    read = await place.reader.webhook(webhook.id)
    assert read is not None
    assert read.version == version
    return read


def plan(before: Webhook, **wanted: Any) -> EditPlan:
    return plan_edit(before, WebhookEdit(**wanted), country="FR", egress=EgressPolicy(), now=NOW)


@pytest.mark.parametrize(
    "wanted",
    [
        {"enabled": False},
        {"name": "CRM Lyon", "url": "https://crm.example.com/new"},
        {"restrict_to": {"tracking_numbers": ["0199001235"]}},
        {"restrict_to": None, "headers": None},
        {"event_type": "user", "restrict_to": {"user_id": "u-17"}},
        {"headers": {"X-Team": "***", "X-New": "n"}, "auth": {"type": "basic", "username": "u", "password": "p"}},
    ],
)
async def test_an_edit_writes_what_it_changes(place: Place, wanted: dict[str, Any]) -> None:
    before = await stored_crm(place)
    edit = plan(before, **wanted)

    assert await place.registry.edit_webhook(edit, at=LATER)

    after = await place.reader.webhook(CRM.id)
    assert after is not None
    assert after == replace(edit.after, updated_at=LATER)
    assert after.version != before.version


async def test_an_edit_of_what_others_have_changed_writes_nothing(place: Place) -> None:
    before = await stored_crm(place)
    assert await place.registry.edit_webhook(plan(before, name="First"), at=NOW)  # at the same moment

    assert not await place.registry.edit_webhook(plan(before, url="https://crm.example.com/second"), at=LATER)

    after = await place.reader.webhook(CRM.id)
    assert after == replace(CRM, name="First")


async def test_of_edits_at_once_one_is_done(place: Place) -> None:
    before = await stored_crm(place)
    edits = [plan(before, name=f"CRM {number}") for number in range(4)]

    done = await asyncio.gather(*(place.registry.edit_webhook(edit, at=LATER) for edit in edits))

    assert sorted(done) == [False, False, False, True]


async def test_what_was_seen_otherwise_is_neither_deleted_nor_given_new_keys(place: Place) -> None:
    seen = [(await stored_crm(place)).version]
    assert await place.registry.set_signing_key(CRM.id, SigningKey(bytes(32)), at=LATER, seen=seen)
    before = await place.reader.webhook(CRM.id)
    assert before is not None

    for act in (
        place.registry.delete_webhook(CRM.id, seen=seen),
        place.registry.rotate_secret(CRM.id, NEW, at=LATER, overlap=DAY, seen=seen),
        place.registry.set_signing_key(CRM.id, SigningKey(bytes(32)), at=LATER, seen=seen),
    ):
        with pytest.raises(Outdated, match="wh_crm"):
            await act
    assert await place.reader.webhook(CRM.id) == before

    assert await place.registry.rotate_secret(CRM.id, NEW, at=LATER, overlap=DAY, seen=[*seen, before.version])
    rotated = await place.reader.webhook(CRM.id)
    assert rotated is not None
    assert await place.registry.delete_webhook(CRM.id, seen=[rotated.version])


async def test_nobody_was_seen(place: Place) -> None:
    seen = ["0" * 32]

    assert not await place.registry.delete_webhook(CRM.id, seen=seen)
    assert not await place.registry.rotate_secret(CRM.id, NEW, at=LATER, overlap=DAY, seen=seen)
    assert not await place.registry.set_signing_key(CRM.id, SigningKey(bytes(32)), at=LATER, seen=seen)
    assert not await place.registry.edit_webhook(plan(CRM, name="x"), at=LATER)


CERTIFICATE = {
    "certificate": LEAF.cert_chain_pems[0].bytes().decode(),
    "key": LEAF.private_key_pem.bytes().decode(),
}


@pytest.mark.parametrize(
    "webhook",
    [
        replace(CRM, signing_key=SigningKey(bytes(range(32)))),
        replace(CRM, auth=BasicAuth(username="u", password="p")),
        replace(CRM, auth=BearerAuth(token="t")),
        replace(CRM, auth=OAuth2Auth(token_url="https://x.example/", client_id="c", client_secret="s", scope="a b")),
        replace(CRM, client_certificate=check_client_certificate(CERTIFICATE)),
    ],
    ids=["signing key", "basic", "bearer", "oauth2", "certificate"],
)
async def test_credentials_are_read_as_they_were_added(place: Place, webhook: Webhook) -> None:
    await place.registry.add_webhook(webhook, SECRET)

    assert await place.reader.webhook(webhook.id) == webhook


NEW, NEWER = "whsec_bmV3", "whsec_bmV3ZXI="
DAY = timedelta(days=1)


async def test_a_rotation_puts_the_new_secret_first_and_ends_the_old_one(place: Place) -> None:
    await place.registry.add_webhook(CRM, SECRET)

    assert await place.registry.rotate_secret(CRM.id, NEW, at=LATER, overlap=DAY)
    assert await place.registry.rotate_secret(CRM.id, NEWER, at=LATER + DAY / 2, overlap=DAY)

    rotated = (Secret(b"newer"), Secret(b"new", LATER + DAY * 1.5), Secret(b"secret", LATER + DAY))
    assert await place.reader.webhook(CRM.id) == replace(CRM, secrets=rotated, updated_at=LATER + DAY / 2)


async def test_a_rotation_without_overlap_leaves_the_new_secret_alone(place: Place) -> None:
    await place.registry.add_webhook(CRM, SECRET)

    assert await place.registry.rotate_secret(CRM.id, NEW, at=LATER, overlap=timedelta(0))

    assert await place.reader.webhook(CRM.id) == replace(CRM, secrets=(Secret(b"new"),), updated_at=LATER)


async def test_a_signing_key_is_made_and_replaced(place: Place) -> None:
    await place.registry.add_webhook(CRM, SECRET)

    for number in (1, 2):
        key = SigningKey(bytes([number]) * 32)
        assert await place.registry.set_signing_key(CRM.id, key, at=LATER)
        assert await place.reader.webhook(CRM.id) == replace(CRM, signing_key=key, updated_at=LATER)


async def test_nobodys_keys_cannot_be_changed(place: Place) -> None:
    assert not await place.registry.rotate_secret(WebhookId("wh_none"), NEW, at=LATER, overlap=DAY)
    assert not await place.registry.set_signing_key(WebhookId("wh_none"), SigningKey(bytes(32)), at=LATER)


async def test_of_rotations_at_once_none_is_lost(place: Place) -> None:
    await place.registry.add_webhook(CRM, SECRET)
    secrets = {format_secret(bytes([number]) * 24) for number in range(3)}

    rotations = (place.registry.rotate_secret(CRM.id, secret, at=LATER, overlap=DAY) for secret in secrets)
    assert await asyncio.gather(*rotations) == [True] * 3

    webhook = await place.reader.webhook(CRM.id)
    assert webhook is not None
    assert {format_secret(secret.key) for secret in webhook.secrets} == {*secrets, SECRET}
    assert [secret.expires_at for secret in webhook.secrets] == [None, *[LATER + DAY] * 3]


@pytest.mark.parametrize(
    ("stored_secret", "kept"),
    [
        (None, []),
        (7, []),
        ("sealed:k1:abc", [("sealed:k1:abc", LATER + DAY)]),
        (["a", {"value": "b", "expires_at": LATER + DAY / 2}, {"value": "over", "expires_at": LATER}],
         [("a", LATER + DAY), ("b", LATER + DAY / 2)]),
    ],
    ids=["none", "junk", "sealed", "list"],
)  # fmt: skip
async def test_what_is_stored_moves_as_it_is(
    mongo_url: str, mongo_database: str, stored: StoredThings, stored_secret: object, kept: list[object]
) -> None:
    stored.add_definition({"_id": "wh_crm", "account_id": "1042", "secret": stored_secret})
    database = open_database(mongo_url, mongo_database, "motor")

    assert await MongoRegistry(database).rotate_secret(CRM.id, NEW, at=LATER, overlap=DAY)

    await database.close()
    document = stored.database["webhooks"].find_one({"_id": "wh_crm"}) or {}
    entries = [
        (entry["value"], entry["expires_at"] and entry["expires_at"].replace(tzinfo=UTC))
        for entry in document["secret"]
    ]
    assert entries == [(NEW, None), *kept]


async def test_a_text_is_not_taken_for_a_list_that_holds_it(
    mongo_url: str, mongo_database: str, stored: StoredThings
) -> None:
    """Somebody made a list of the secret after we had read it: that list must not be overwritten."""
    stored.add_definition({"_id": "wh_crm", "secret": ["b3RoZXI=", "a"]})

    found = stored.database["webhooks"].count_documents({"secret": exactly("a")})

    assert found == 0
    assert stored.database["webhooks"].count_documents({"secret": exactly(["b3RoZXI=", "a"])}) == 1


async def test_unsuspend_forgets_suspension_and_failures(place: Place) -> None:
    await place.registry.add_webhook(CRM, SECRET)
    assert not await place.registry.unsuspend(CRM.id)
    await place.suspend(CRM.id)
    suspended = await place.reader.webhook(CRM.id)
    assert suspended is not None
    assert suspended.state is WebhookState.SUSPENDED

    assert await place.registry.unsuspend(CRM.id)

    lifted = Suspension(since=NOW, reason=SuspensionReason.FAILING)
    assert await place.reader.webhook(CRM.id) == replace(CRM, recovering_from=lifted), "known until the first success"
    assert not await place.registry.unsuspend(CRM.id)


async def test_a_deleted_webhook_is_gone(place: Place) -> None:
    await place.registry.add_webhook(CRM, SECRET)

    assert await place.registry.delete_webhook(CRM.id)

    assert await place.reader.webhook(CRM.id) is None
    assert not await place.registry.delete_webhook(CRM.id)


async def test_a_webhook_of_the_same_id_begins_without_the_old_ones_suspension(place: Place) -> None:
    await place.suspend(CRM.id)

    await place.registry.add_webhook(CRM, SECRET)

    assert await place.reader.webhook(CRM.id) == CRM


async def test_what_is_not_there_is_said_and_not_made(place: Place) -> None:
    assert not await place.registry.unsuspend(CRM.id)
    assert not await place.registry.delete_webhook(CRM.id)
    await place.registry.mark_requeued("dl_nobody", LATER)

    assert await place.reader.count_webhooks(account_id=None, event_type=None) == 0
    assert await place.reader.count_dead_letters() == 0


# --- dead letters ----------------------------------------------------------------------------------


async def test_a_dead_letter_is_marked_as_requeued(place: Place) -> None:
    letter_id = await place.bury_one()

    await place.registry.mark_requeued(letter_id, LATER)

    letter = await place.reader.dead_letter(letter_id)
    assert letter is not None
    assert letter.requeued_at == LATER


# --- the real store alone --------------------------------------------------------------------------


@pytest_asyncio.fixture
async def reader(mongo_url: str, mongo_database: str) -> AsyncIterator[MongoReader]:
    database = open_database(mongo_url, mongo_database, "motor")
    try:
        yield MongoReader(database, "FR")
    finally:
        await database.close()


@pytest_asyncio.fixture
async def registry(mongo_url: str, mongo_database: str) -> AsyncIterator[MongoRegistry]:
    database = open_database(mongo_url, mongo_database, "motor")
    try:
        yield MongoRegistry(database)
    finally:
        await database.close()


async def test_the_document_is_that_of_the_contract(
    registry: MongoRegistry, mongo_client: pymongo.MongoClient[dict[str, Any]], mongo_database: str
) -> None:
    await registry.add_webhook(CRM, SECRET)

    assert mongo_client[mongo_database]["webhooks"].find_one() == {
        "_id": "wh_crm",
        "account_id": "1042",
        "name": "CRM – accueil",
        "url": "https://crm.example.com/hook",
        "event_type": "call",
        "enabled": True,
        "restrict_to": {"tracking_numbers": ["+33199001234", "+33465710042"]},
        "secret": SECRET,
        "headers": {"X-Team": "sales", "x.$dotted": "a b"},
        "created_at": datetime(2025, 3, 11, 9, 14, 7, tzinfo=UTC),
        "updated_at": datetime(2025, 3, 11, 9, 14, 7, tzinfo=UTC),
    }


async def test_an_account_with_an_integer_id_gets_no_second_document(
    registry: MongoRegistry, mongo_client: pymongo.MongoClient[dict[str, Any]], mongo_database: str
) -> None:
    accounts = mongo_client[mongo_database]["accounts"]
    accounts.insert_one({"_id": 1042, "webhooks_enabled": True, "plan": "gold"})

    await registry.set_account(ACCOUNT, webhooks_enabled=False)

    assert list(accounts.find()) == [{"_id": 1042, "webhooks_enabled": False, "plan": "gold"}]


async def test_a_wrong_definition_of_the_back_office_can_be_mended_paused_and_deleted(
    registry: MongoRegistry, stored: StoredThings, reader: MongoReader
) -> None:
    webhooks = stored.database["webhooks"]
    stored.add_definition({"_id": 7, "account_id": 1042, "url": "crm", "event_type": "call", "enabled": "yes", "x": 1})

    for wanted in ({"enabled": True}, {"url": "https://crm.example.com/"}, {"enabled": False}):
        webhook = await reader.webhook(WebhookId("7"))
        assert webhook is not None
        assert await registry.edit_webhook(plan(webhook, **wanted), at=LATER)

    assert webhooks.find_one() == {
        "_id": 7,
        "account_id": 1042,
        "url": "https://crm.example.com/",
        "event_type": "call",
        "enabled": False,
        "updated_at": LATER,
        "x": 1,
    }
    assert await registry.delete_webhook(WebhookId("7"))
    assert webhooks.find_one() is None


async def test_of_two_documents_with_one_id_the_one_that_was_seen_is_changed(
    registry: MongoRegistry, stored: StoredThings, reader: MongoReader
) -> None:
    for key in (7, "7"):
        stored.add_definition({**webhook_document(CRM, None), "_id": key, "name": repr(key)})
    webhook = await reader.webhook(WebhookId("7"))
    assert webhook is not None

    assert await registry.edit_webhook(plan(webhook, enabled=False), at=LATER)

    paused = stored.database["webhooks"].find_one({"enabled": False}) or {}
    assert paused["name"] == webhook.name
    assert stored.database["webhooks"].count_documents({"enabled": True}) == 1


async def test_a_date_that_is_none_is_in_nobodys_way(
    registry: MongoRegistry, stored: StoredThings, reader: MongoReader
) -> None:
    stored.add_definition({**webhook_document(CRM, None), "created_at": None, "updated_at": "yesterday"})
    webhook = await reader.webhook(CRM.id)
    assert webhook is not None

    assert await registry.edit_webhook(plan(webhook, enabled=False), at=LATER)


# --- versions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"account_id": "77"},
        {"name": "x"},
        {"url": "https://crm.example.com/x"},
        {"event_type": "cdr"},
        {"event_type": ["junk"]},
        {"enabled": 1},
        {"restrict_to": {"tracking_numbers": ["+33199001234"]}},
        {"secret": format_secret(bytes(range(1, 33)))},
        {"secret": [format_secret(bytes(range(32))), "d2Vhaw=="]},
        {"headers.X-Team": "support"},
        {"auth": {"type": "bearer", "token": "u"}},
        {"updated_at": LATER},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_whatever_the_back_office_changes_is_another_version(
    stored: StoredThings, reader: MongoReader, change: dict[str, Any]
) -> None:
    document = webhook_document(replace(CRM, auth=BearerAuth(token="t")), format_secret(bytes(range(32))))
    stored.add_definition(document)
    before = await reader.webhook(CRM.id)

    stored.database["webhooks"].update_one({"_id": "wh_crm"}, {"$set": change})

    after = await reader.webhook(CRM.id)
    assert before is not None
    assert after is not None
    assert re.fullmatch(rf"[0-9a-f]{{{VERSION_LENGTH}}}", after.version)
    assert after.version != before.version


async def test_what_is_no_definition_is_no_other_version(stored: StoredThings, reader: MongoReader) -> None:
    stored.add_webhook(CRM)
    before = await reader.webhook(CRM.id)

    stored.database["webhooks"].update_one({"_id": "wh_crm"}, {"$set": {"note": "of the back office"}})
    stored.database["webhook_health"].insert_one({"_id": "wh_crm", "suspended_at": NOW, "suspended_reason": "gone"})

    after = await reader.webhook(CRM.id)
    assert before is not None
    assert after is not None
    assert (after.version, after.state) == (before.version, WebhookState.SUSPENDED)


STRONG, WEAK = format_secret(bytes(range(MIN_KEY_BYTES))), format_secret(bytes(MIN_KEY_BYTES - 1))


@pytest.mark.parametrize(("secret", "differ"), [(STRONG, True), (WEAK, False), (None, False), ("junk", False)], ids=str)
def test_a_version_tells_nothing_of_a_secret_that_could_be_guessed(secret: str | None, differ: bool) -> None:
    """Without a key of its own that nobody guesses, a digest would be a way to try passwords."""
    documents = [
        {"_id": "wh_crm", "account_id": "1042", "secret": secret, "headers": {"X-Key": key}, "auth": {"token": key}}
        for key in ("monday", "tuesday")
    ]

    first, second = (version_of(document, NO_KEYS) for document in documents)

    assert (first != second) is differ


@pytest.mark.parametrize("secret", [STRONG, WEAK])
def test_sealing_is_no_other_version_where_the_key_is_there(secret: str) -> None:
    plain = {"_id": "wh_crm", "account_id": "1042", "secret": secret, "headers": {"X-Key": "monday"}}
    vault = ring("k1")
    other = {**plain, "headers": {"X-Key": "tuesday"}}

    once, again, tuesday = (version_of(sealed(document, vault), vault) for document in (plain, plain, other))

    assert once != tuesday
    assert (once == again == version_of(plain, vault)) is (secret == STRONG)
    assert version_of(sealed(plain, vault), NO_KEYS) != version_of(sealed(other, vault), NO_KEYS)


async def test_a_store_that_is_down_is_said_to_be_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.adapters.mongo.driver.SERVER_SELECTION_TIMEOUT_MS", 200)
    database = open_database("mongodb://127.0.0.1:9/", "nowhere", "motor")

    with pytest.raises(DependencyUnavailable, match=r"^MongoDB did not confirm the write") as caught:
        await MongoRegistry(database).set_account(ACCOUNT, webhooks_enabled=True)
    assert not isinstance(caught.value, ConfigurationRefused)
    await database.close()
