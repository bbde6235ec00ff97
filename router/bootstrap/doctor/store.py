"""Doctor: MongoDB. Its shape, whether a majority can confirm a write, its clock against ours, indexes, and the keys."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Final

from router.adapters.clock import StoreClock
from router.adapters.mongo.driver import Database
from router.adapters.mongo.indexes import plan_indexes
from router.adapters.mongo.inspection import StoreSeen, inspect
from router.adapters.mongo.keys import KeyRecords
from router.adapters.mongo.resilience import Persistent, StoreHealth
from router.adapters.mongo.schema import recorded_schema
from router.adapters.mongo.secrets import MongoSecrets
from router.application.upkeep import SKEW_WORTH_A_WARNING_SECONDS
from router.bootstrap.looking import open_to_look
from router.bootstrap.store import open_vault
from router.domain.diagnosis import Finding, Ward
from router.domain.errors import ConfigurationRefused, RouterError
from router.domain.schema import KNOWN, Schema
from router.domain.topology import Line, Presence
from router.ports import SecretCounts, Vault
from router.settings import EMBEDDED, Settings

GROUP: Final = "store"
_WARD: Final = Ward(GROUP)
OLDEST: Final = (4, 4)
OLDEST_KEPT_UP: Final = (7, 0)
COUNT_SECONDS: Final = 8.0
"""For counting the secrets of all webhooks: with very many of them it is not done here."""
REFUSED_SKEW: Final = timedelta(minutes=5)
"""Receivers refuse a signature that is older or younger (Standard Webhooks, and our page for receivers)."""
_NAMES: Final = ("version", "topology", "write concern", "clock", "schema", "indexes", "keys on record")
NEW_KEY: Final = "`webhook-router secrets new-key` makes a key; put it into the file of secrets.key_file."


async def look(settings: Settings) -> list[Finding]:
    vault, key_ring = look_at_key_ring(settings)
    try:
        async with open_to_look(settings) as database:
            seen = await inspect(database)
            findings = [
                _WARD.ok("connection", f"open, database {settings.mongo.database}"),
                judge_version(seen),
                judge_topology(seen),
                judge_write_concern(seen),
                judge_clock(await StoreClock(database.server_time).sync()),
                judge_schema(await recorded_schema(database)),
                *judge_indexes(await plan_indexes(database)),
            ]
            keys = [] if vault is None else [await _keys_on_record(database, vault)]
    except RouterError as error:
        is_embedded = settings.mongo.url.get_secret_value() == EMBEDDED
        remedy = "Start the router: it starts its store." if is_embedded else "Start MongoDB, or correct mongo.url."
        level = _WARD.warn if is_embedded else _WARD.fail
        unseen = _WARD.unseen(_NAMES, "MongoDB does not let us in", "Mend the connection first.")
        return [level("connection", str(error), remedy), *unseen, key_ring]
    return [*findings, key_ring, *keys]


def judge_version(seen: StoreSeen) -> Finding:
    found = re.match(r"(\d+)\.(\d+)", seen.version)
    number = (int(found[1]), int(found[2])) if found else (0, 0)
    if seen.is_embedded:
        return _WARD.warn("version", f"SecantusDB, as MongoDB {seen.version}", "Use MongoDB for what must not be lost.")
    if number < OLDEST:
        return _WARD.fail("version", f"MongoDB {seen.version}: too old", "Use MongoDB 7 or newer.")
    if number < OLDEST_KEPT_UP:
        return _WARD.warn("version", f"MongoDB {seen.version}: its maker mends it no more", "Use MongoDB 7 or newer.")
    return _WARD.ok("version", f"MongoDB {seen.version}")


def judge_topology(seen: StoreSeen) -> Finding:
    if seen.is_sharded:
        return _WARD.ok("topology", "a sharded cluster, asked through mongos")
    if not seen.replica_set:
        return _WARD.warn(
            "topology",
            "a standalone server: no change streams, so definitions count after seconds, and no failover",
            "Make it a replica set, of one member at least (--replSet, rs.initiate()).",
        )
    if not seen.is_writable:
        return _WARD.fail(
            "topology",
            f"replica set {seen.replica_set}: this is no primary",
            "Name the set in mongo.url (replicaSet=), without directConnection; or see why there is no primary.",
        )
    said = f"replica set {seen.replica_set}, {seen.members} member{'s' if seen.members != 1 else ''}"
    if seen.members < 3:
        return _WARD.warn("topology", f"{said}: no loss of a member is survived", "Have three members that hold data.")
    return _WARD.ok("topology", f"{said}{f', {seen.arbiters} arbiters' if seen.arbiters else ''}")


def judge_write_concern(seen: StoreSeen) -> Finding:
    said = "majority, journalled, on every write"
    if seen.healthy is None or seen.majority is None:
        if seen.arbiters and seen.members < 3:
            return _WARD.warn(
                "write concern",
                f"{said}; with an arbiter and {seen.members} members, one loss stops all writes",
                "Replace the arbiter by a member that holds data.",
            )
        who = "" if not seen.replica_set else "; how many members are up, this user may not ask"
        return _WARD.ok("write concern", said + who)
    said += f"; {seen.majority} must confirm, {seen.healthy} up"
    if seen.healthy < seen.majority:
        return _WARD.fail("write concern", said, "Bring members back: no event can be stored until then.")
    if seen.healthy == seen.majority and seen.members > 1:
        return _WARD.warn("write concern", f"{said}: one loss more stops all writes", "Bring the others back.")
    return _WARD.ok("write concern", said)


def judge_clock(ahead: timedelta) -> Finding:
    seconds = ahead.total_seconds()
    said = f"{abs(seconds):.2f} s {'ahead of' if seconds > 0 else 'behind'} the store's"
    remedy = "Set the clock by NTP, here and at the store (timedatectl, chronyc tracking)."
    if abs(ahead) >= REFUSED_SKEW:
        return _WARD.fail("clock", f"{said}: receivers refuse our signatures", remedy)
    if abs(seconds) > SKEW_WORTH_A_WARNING_SECONDS:
        return _WARD.warn("clock", said, remedy)
    return _WARD.ok("clock", said)


def judge_schema(schema: Schema | None) -> Finding:
    if schema is None:
        return _WARD.ok("schema", "none on record yet: the first start writes it down")
    if schema.is_too_new():
        said = f"{schema.version}: it needs a router that knows {schema.needs}, and this one knows {KNOWN}"
        return _WARD.fail("schema", said, "Install the newer release again.")
    waiting = ", ".join(change.name for change in schema.pending(contract=True))
    if waiting:
        remedy = "A router makes what it may; the rest waits for `webhook-router migrate apply` (docs/upgrading.md)."
        return _WARD.warn("schema", f"{schema.version} of {KNOWN}; still to do: {waiting}", remedy)
    return _WARD.ok("schema", str(schema.version))


def judge_indexes(lines: Iterable[Line]) -> Iterator[Finding]:
    found = list(lines)
    for line in found:
        collection, _, name = line.name.partition(".")
        if line.presence is Presence.DIFFERENT:
            yield _WARD.fail(
                "indexes",
                f"{line.name} {line.detail}",
                f'db.{collection}.dropIndex("{name}") in mongosh, then `webhook-router indexes apply`',
            )
    missing = [line.name for line in found if line.presence is Presence.MISSING]
    extra = [line.name for line in found if line.presence is Presence.EXTRA]
    if missing:
        yield _WARD.warn(
            "indexes",
            f"{len(missing)} missing: {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}",
            "`webhook-router indexes apply` creates them; so does the next start, which then takes longer.",
        )
    elif all(line.presence in {Presence.PRESENT, Presence.EXTRA} for line in found):
        more = f"; not ours: {', '.join(extra)}" if extra else ""
        yield _WARD.ok("indexes", f"{len(found) - len(extra)} as wanted{more}")


# --- keys -------------------------------------------------------------------------------------------


def look_at_key_ring(settings: Settings) -> tuple[Vault | None, Finding]:
    """The keys of this process, and what is to be said of them; no keys where the file cannot be used."""
    try:
        vault = open_vault(settings)
    except ConfigurationRefused as error:
        return None, _WARD.fail("key ring", str(error), f"Correct the file, or secrets.key_file. {NEW_KEY}")
    if not vault.key_ids:
        return vault, _WARD.warn("key ring", "no key file: secrets of webhooks lie in MongoDB as they are", NEW_KEY)
    others = len(vault.key_ids) - 1
    return vault, _WARD.ok("key ring", f"seals with {vault.key_ids[0]}; {others} more to open with")


async def _keys_on_record(database: Database, vault: Vault) -> Finding:
    try:
        missing = await KeyRecords(database, vault).missing()
    except ConfigurationRefused as error:
        return _WARD.fail("keys on record", str(error), "Put the key back that was in use under that id.")
    secrets = MongoSecrets(database, vault, Persistent(StoreHealth()))
    try:
        async with asyncio.timeout(COUNT_SECONDS):
            counts = await secrets.count()
    except TimeoutError:
        said = "too many webhooks to count their secrets here"
        return _WARD.warn("keys on record", said, "`webhook-router secrets status` counts them.")
    return judge_keys(vault.key_ids, missing, counts)


def judge_keys(key_ids: Iterable[str], missing: Iterable[str], counts: SecretCounts) -> Finding:
    lost = {key_id: counts.by_key[key_id] for key_id in missing if counts.by_key.get(key_id)}
    if lost:
        said = ", ".join(f"{count} with {key_id}" for key_id, count in lost.items())
        return _WARD.fail(
            "keys on record", f"secrets are sealed with keys that are not here: {said}", "Add the lines of those keys."
        )
    if counts.unopened:
        return _WARD.fail(
            "keys on record",
            f"{counts.unopened} sealed secrets do not open: damaged, or moved from another webhook",
            "Give those webhooks new secrets: `webhook-router webhooks rotate-secret`.",
        )
    active = next(iter(key_ids), None)
    if active is not None and (counts.plain or set(counts.by_key) - {active}):
        others = sum(counts.by_key.values()) - counts.by_key.get(active, 0)
        return _WARD.warn(
            "keys on record",
            f"{others} secrets sealed with other keys, {counts.plain} not sealed",
            "`webhook-router secrets rotate` seals them all with the first key.",
        )
    return _WARD.ok("keys on record", f"{sum(counts.by_key.values())} secrets sealed, {counts.plain} as they are")
