"""`secrets`: the keys that seal secrets in the store, and what is sealed with which of them."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from secrets import token_bytes, token_hex
from typing import TYPE_CHECKING, Final

import click

from router.cli import output
from router.cli.base import ExitCode, Group
from router.cli.options import json_option
from router.cli.session import Session, Store, auditor
from router.domain.audit import AuditAction
from router.domain.errors import ConfigurationRefused, DependencyUnavailable
from router.domain.sealed import KEY_BYTES, KEY_ID_RULE, is_key_id
from router.ports import Resealing, SecretCounts

if TYPE_CHECKING:
    from router.settings import Settings

PROGRESS_STEP: Final = 5_000
"""Webhooks between two lines of progress."""


@click.group("secrets", cls=Group)
def secrets() -> None:
    """Keep the keys that seal webhooks' secrets in the store.

    Without a key file (setting secrets.key_file) they are stored as they are.
    """


# --- keys ------------------------------------------------------------------------------------------


@secrets.example_command(
    "new-key",
    "webhook-router secrets new-key > /etc/webhook-router/keys",
    "webhook-router secrets new-key | cat - keys > keys.new",
    "webhook-router secrets new-key --id 2026-11",
)
@click.option("--id", "key_id", metavar="ID", help="Id of the key.  [default: today's date and something random]")
@json_option
def new_key(*, key_id: str | None, as_json: bool) -> None:
    """Print a new key, as a line of the key file.

    The first key of the file seals, all of them open. So a first key is the whole file, and a new one is put
    above the others; these go once `secrets rotate` has sealed everything anew. Only the router's user may read
    the file: umask 077 before, or chmod 0400 after. Keep a copy in a safe place, apart from the backups of
    MongoDB: without it the secrets are lost.
    """
    key_id = key_id if key_id is not None else f"k{datetime.now(UTC):%Y%m%d}-{token_hex(2)}"
    if not is_key_id(key_id):
        raise click.UsageError(f"--id {KEY_ID_RULE}", click.get_current_context())
    key = b64encode(token_bytes(KEY_BYTES)).decode("ascii")
    if as_json:
        output.print_json({"id": key_id, "key": key})
    else:
        click.echo(f"{key_id}:{key}")


# --- what they have sealed -------------------------------------------------------------------------


@secrets.example_command("status", "webhook-router secrets status", "webhook-router secrets status --json")
@json_option
@click.pass_obj
def status(session: Session, /, *, as_json: bool) -> None:
    """Count the secrets in the store by the key that they are sealed with."""

    async def work(store: Store, _: Settings) -> tuple[list[str], SecretCounts]:
        return list(store.secret_store.key_ids), await store.secret_store.count()

    key_ids, counts = session.with_store(work)
    if as_json:
        output.print_json(_counts_object(key_ids, counts))
        return
    rows = [
        (output.shown(key_id), str(counts.by_key.get(key_id, 0)), _state(key_id, key_ids))
        for key_id in [*key_ids, *sorted(counts.by_key.keys() - set(key_ids))]
    ]
    output.print_table(("KEY", "VALUES", "STATE"), [*rows, ("-", str(counts.plain), "not sealed")])
    if counts.unopened:
        output.note(_hint_to_unopened(counts.unopened))


def _state(key_id: str, key_ids: list[str]) -> str:
    if key_id not in key_ids:
        return "not in the key file"
    return "seals" if key_id == key_ids[0] else "opens"


def _counts_object(key_ids: list[str], counts: SecretCounts) -> dict[str, object]:
    return {
        "active": key_ids[0] if key_ids else None,
        "keys": [
            {"id": key_id, "values": counts.by_key.get(key_id, 0), "in_key_file": key_id in key_ids}
            for key_id in [*key_ids, *sorted(counts.by_key.keys() - set(key_ids))]
        ],
        "plain": counts.plain,
        "unopened": counts.unopened,
    }


# --- rotation --------------------------------------------------------------------------------------


@secrets.example_command(
    "rotate",
    "webhook-router secrets rotate --dry-run",
    "webhook-router secrets rotate",
    "webhook-router secrets rotate --json",
)
@click.option("--dry-run", is_flag=True, help="Say how many, and do nothing.")
@json_option
@click.pass_obj
def rotate(session: Session, /, *, dry_run: bool, as_json: bool) -> int:
    """Seal every secret with the first key of the key file.

    Takes what is plain and what is sealed with another key of the file. Routers go on meanwhile, and what
    somebody changes at the same moment is left to the next pass. Broken off, it is simply run again.
    """

    async def work(store: Store, _: Settings) -> _Rotation:
        if not store.secret_store.key_ids:
            raise ConfigurationRefused("there is no key file (secrets.key_file), so there is nothing to seal with")
        active = store.secret_store.key_ids[0]
        counts = await store.secret_store.count()
        waiting = _not_sealed_with(active, counts)
        rotation = _Rotation(dry_run=dry_run, count=waiting, left=waiting, unopened=counts.unopened)
        output.note(f"{_values(rotation.count)} to seal with key {output.shown(active)}.")
        if rotation.count and not dry_run:
            await auditor(store).note(AuditAction.SECRETS_RESEALED, target=active, values=waiting)
            rotation.done = await _reseal_all(store)
            counts = await store.secret_store.count()
            rotation.left, rotation.unopened = _not_sealed_with(active, counts), counts.unopened
        return rotation

    return _report(session.with_store(work), as_json=as_json)


@dataclass(slots=True, kw_only=True)
class _Rotation:
    """What a rotation did, or with `dry_run` would do: in values, `done` in webhooks."""

    dry_run: bool
    count: int
    left: int
    unopened: int
    done: Resealing = field(default_factory=Resealing)


async def _reseal_all(store: Store) -> Resealing:
    done, told = Resealing(), 0
    try:
        async for done in store.secret_store.reseal_all():
            if done.sealed >= told + PROGRESS_STEP:
                told = done.sealed
                output.note(f"{told} webhooks …")
    except DependencyUnavailable:
        output.note(f"{done.sealed} webhooks were done before this; run it again for the rest:")
        raise
    return done


def _report(rotation: _Rotation, *, as_json: bool) -> int:
    if as_json:
        output.print_json(
            {
                "count": rotation.count,
                "dry_run": rotation.dry_run,
                "webhooks": rotation.done.sealed,
                "left": rotation.left,
                "unopened": rotation.unopened,
            }
        )
    if rotation.unopened:
        output.note(_hint_to_unopened(rotation.unopened))
    if rotation.dry_run:
        return ExitCode.OK
    output.note(f"Secrets of {rotation.done.sealed} webhooks sealed; {_values(rotation.left)} left.")
    if rotation.done.refused:
        output.note(
            f"MongoDB refuses the sealed form in {rotation.done.refused} webhooks: has the collection a validator?"
        )
    return ExitCode.FAILED if rotation.left else ExitCode.OK


def _not_sealed_with(active: str, counts: SecretCounts) -> int:
    return counts.plain + sum(values for key_id, values in counts.by_key.items() if key_id != active)


def _values(count: int) -> str:
    return f"{count} secret value{'' if count == 1 else 's'}"


def _hint_to_unopened(count: int) -> str:
    return f"{_values(count)} cannot be opened with these keys: `webhooks list --state invalid` shows where."
