"""`privacy`: all that is held about a phone number, for whoever asks for it or wants it gone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from router.application import privacy as application
from router.application.privacy import Exported, Holdings
from router.application.queries import EventReport
from router.cli import output, views
from router.cli.base import CommandFailedError, Group
from router.cli.options import json_option, usage_error
from router.cli.session import Session, Store, auditor, hash_of_number
from router.domain.audit import AuditAction
from router.domain.delivery import Delivery
from router.domain.errors import InvalidInput
from router.domain.event import AccountId
from router.domain.lease import LEASE
from router.domain.subject import Subject, subject_of
from router.ports import Erased, Replay, RestrictedWebhook, StoredDeadLetter

if TYPE_CHECKING:
    from router.settings import Settings

number_option = click.option("--number", required=True, metavar="NUMBER", help="The whole number, written in any way.")
account_option = click.option("--account", metavar="ID", help="Only what belongs to this account.")


@click.group("privacy", cls=Group)
def privacy() -> None:
    """Export or erase what is held about a phone number."""


async def _find(store: Store, settings: Settings, number: str, account: str | None) -> tuple[Subject, Holdings]:
    try:
        subject = subject_of(number, settings.numbers.default_country)
    except InvalidInput as error:
        raise usage_error(error, {"number": "--number"}) from None
    account_id = AccountId(account) if account is not None else None
    if account_id is not None:
        output.note("Dead letters belong to no account: with --account they are left out.")
    return subject, await application.find_holdings(store.privacy, subject, account_id, tell=output.note)


# --- export ----------------------------------------------------------------------------------------


@privacy.example_command(
    "export",
    "webhook-router privacy export --number '06 39 98 11 22' --output export.jsonl",
    "webhook-router privacy export --number +33639981122 --account 1042 | jq .kind",
)
@number_option
@account_option
@click.option(
    "--output", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write to a new file that only you read."
)
@click.option("--json", "as_json", is_flag=True, help="Changes nothing: each line is JSON.")
@click.pass_obj
def export(session: Session, /, *, number: str, account: str | None, file: Path | None, as_json: bool) -> None:
    """Print all that is held about a number, one JSON object on each line."""

    async def work(store: Store, settings: Settings) -> int:
        subject, holdings = await _find(store, settings, number, account)
        await auditor(store).note(
            AuditAction.PRIVACY_EXPORTED,
            account_id=account,
            target=hash_of_number(settings, subject.e164),
            **_counts(holdings),
        )
        lines = 0
        with _destination(file) as stream:
            async for item in application.export(store.reader, holdings):
                stream.write(output.to_json(_line(item)) + "\n")
                lines += 1
        return lines

    lines = session.with_store(work)
    output.note(f"{lines} exported.")


@contextmanager
def _destination(file: Path | None) -> Iterator[IO[str]]:
    if file is None:
        yield sys.stdout
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CommandFailedError(f"cannot create {output.shown(file)}: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        yield stream


def _line(item: Exported) -> dict[str, Any]:
    match item:
        case EventReport():
            return {"kind": "event", **views.event(item)}
        case Delivery():
            return {"kind": "delivery", **views.delivery(item)}
        case StoredDeadLetter():
            return {"kind": "dead_letter", **views.dead_letter_with_body(item)}
        case RestrictedWebhook():
            return {"kind": "webhook", "id": item.id, "account_id": item.account_id, "name": item.name}
        case Replay():
            return {"kind": "replay", **views.replay(item)}


# --- erase -----------------------------------------------------------------------------------------


@privacy.example_command(
    "erase",
    "webhook-router privacy erase --number '06 39 98 11 22' --dry-run",
    "webhook-router privacy erase --number +33639981122 --account 1042 --yes --json",
)
@number_option
@account_option
@click.option("--dry-run", is_flag=True, help="Say how many, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def erase(session: Session, /, *, number: str, account: str | None, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Take a number, and the payloads and answers that may hold it, out of all that is kept.

    What is left are the facts of each delivery. What was pending is not sent any more. May be repeated.
    """

    async def work(store: Store, settings: Settings) -> tuple[Holdings, Erased]:
        subject, holdings = await _find(store, settings, number, account)
        output.note(_summary(holdings))
        if dry_run or not (holdings.mentions or holdings.dead_letters or holdings.replays):
            return holdings, Erased()
        _confirm(needed=not yes)
        if settings.log.hash_key is None:
            output.note("log.hash_key is not set: the entry in the audit trail cannot be recognised later.")
        audit, target = auditor(store), hash_of_number(settings, subject.e164)
        counts = _counts(holdings)
        await audit.note(AuditAction.PRIVACY_ERASED, account_id=account, target=target, phase="begun", **counts)
        erased = await application.erase(store.privacy, holdings, now=store.now, tell=output.note)
        await audit.note(
            AuditAction.PRIVACY_ERASED, account_id=account, target=target, phase="done", ended=erased.ended, **counts
        )
        return holdings, erased

    holdings, erased = session.with_store(work)
    if as_json:
        output.print_json({**_counts(holdings), "ended": erased.ended, "dry_run": dry_run})
    if not dry_run:
        output.note(f"Erased. {erased.ended} pending deliveries were ended.")
    if erased.in_memory:
        output.note(
            f"A worker had {erased.in_memory} of them in memory: it lets go of them within "
            f"{LEASE.total_seconds():.0f} s, and may send until then."
        )
    if holdings.webhooks:
        output.note("Left as they are: webhooks whose restriction names the number: " + _names(holdings))


def _names(holdings: Holdings) -> str:
    return ", ".join(output.shown(webhook.id) for webhook in holdings.webhooks)


def _counts(holdings: Holdings) -> dict[str, int]:
    return {
        "events": holdings.events,
        "deliveries": holdings.deliveries,
        "dead_letters": len(holdings.dead_letters),
        "webhooks": len(holdings.webhooks),
        "replays": len(holdings.replays),
    }


def _summary(holdings: Holdings) -> str:
    counts = _counts(holdings)
    return (
        f"Found in {counts['events']} events, {counts['deliveries']} deliveries, "
        f"{counts['dead_letters']} dead letters, {counts['replays']} filters of replays."
    )


def _confirm(*, needed: bool) -> None:
    if not needed:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to be asked: erasing needs --yes", click.get_current_context())
    if not click.confirm("Erase for good?", err=True):
        raise CommandFailedError("nothing was erased")
