"""`webhooks pause`, `resume` and `delete`: of one webhook, of several, or of all that a filter finds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import click

from router.application import editing, queries
from router.application.queries import MAX_LIMIT, PageRequest, WebhookFilter, WebhookReport
from router.cli import output
from router.cli.base import Command, ExitCode
from router.cli.bulk import Outcome, bulk_options, confirm, counted
from router.cli.options import json_option
from router.cli.session import Session, Store, auditor
from router.cli.webhook_options import filter_options, webhook_filter
from router.cli.webhook_output import not_found, print_report, row
from router.domain.webhook import WebhookId

if TYPE_CHECKING:
    from router.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verb:
    """One of the three. `act` says whether it changed anything; None: there is no such webhook."""

    name: str
    done: str
    act: Callable[[Store, WebhookId], Awaitable[bool | None]]


def selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: which webhooks are meant, and what is asked and told."""
    for option in (click.pass_obj, json_option, bulk_options, filter_options):
        command = option(command)
    return click.argument("webhook_ids", metavar="[ID]...", nargs=-1)(command)


# --- the commands ----------------------------------------------------------------------------------


@click.command(
    "pause",
    cls=Command,
    examples=(
        "webhook-router webhooks pause wh_crm",
        "webhook-router webhooks pause --account 1042 --event-type call --dry-run",
        "webhook-router webhooks pause wh_crm wh_audit --yes --json",
    ),
)
@selecting
def pause(session: Session, /, **typed: Any) -> int:
    """Send nothing to these webhooks until they are resumed.

    Pending deliveries wait. Events that arrive meanwhile are not sent later.
    """
    return _run(session, _PAUSE, **typed)


@click.command(
    "resume",
    cls=Command,
    examples=(
        "webhook-router webhooks resume wh_crm",
        "webhook-router webhooks resume --state suspended --account 1042 --yes",
    ),
)
@selecting
def resume(session: Session, /, **typed: Any) -> int:
    """Send to these webhooks again, be they paused or suspended."""
    return _run(session, _RESUME, **typed)


@click.command(
    "delete",
    cls=Command,
    examples=(
        "webhook-router webhooks delete wh_crm",
        "webhook-router webhooks delete --account 1042 --dry-run",
    ),
)
@selecting
def delete(session: Session, /, **typed: Any) -> int:
    """Delete these webhooks. Their pending deliveries are cancelled; the log of all of them is kept."""
    return _run(session, _DELETE, **typed)


async def _pause(store: Store, webhook_id: WebhookId) -> bool | None:
    audit = auditor(store)
    changed = await editing.pause_webhook(store.reader, store.registry, webhook_id, now=store.now(), audit=audit)
    return None if changed is None else bool(changed)


async def _resume(store: Store, webhook_id: WebhookId) -> bool | None:
    audit = auditor(store)
    return await editing.resume_webhook(store.reader, store.registry, webhook_id, now=store.now(), audit=audit) or None


async def _delete(store: Store, webhook_id: WebhookId) -> bool | None:
    return await editing.delete_webhook(store.reader, store.registry, webhook_id, audit=auditor(store)) or None


_PAUSE: Final = _Verb(name="pause", done="paused", act=_pause)
_RESUME: Final = _Verb(name="resume", done="resumed", act=_resume)
_DELETE: Final = _Verb(name="delete", done="deleted", act=_delete)


# --- how they run ----------------------------------------------------------------------------------


def _run(
    session: Session,
    verb: _Verb,
    *,
    webhook_ids: tuple[str, ...],
    account: str | None,
    event_type: str | None,
    state: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    where = webhook_filter(account, event_type, state)
    if bool(webhook_ids) == (where != WebhookFilter()):
        raise click.UsageError(
            "give the ids of webhooks, or a filter: --account, --event-type, --state", click.get_current_context()
        )
    if len(webhook_ids) == 1 and not dry_run:
        return _run_one(session, verb, webhook_ids[0], as_json=as_json)

    async def work(store: Store, _: Settings) -> Outcome:
        found = await (_named(store, webhook_ids) if webhook_ids else _matching(store, where))
        _announce(verb, found, show=dry_run and not as_json)
        outcome = Outcome(verb=verb.done, wanted=[report.webhook.id for report in found], dry_run=dry_run)
        if found and not dry_run:
            if not yes:
                confirm(f"{verb.name.capitalize()} them?", refused=f"nothing was {verb.done}", why="more than one")
            await outcome.work_off(lambda identity: verb.act(store, WebhookId(identity)))
        return outcome

    return session.with_store(work).report(as_json=as_json)


def _run_one(session: Session, verb: _Verb, webhook_id: str, *, as_json: bool) -> int:
    async def work(store: Store, _: Settings) -> WebhookReport | None:
        before = await queries.find_webhook(store.reader, WebhookId(webhook_id))
        if before is None or await verb.act(store, WebhookId(webhook_id)) is None:
            return None
        return before if verb is _DELETE else await queries.find_webhook(store.reader, WebhookId(webhook_id))

    report = session.with_store(work)
    if report is None or verb is not _DELETE:
        print_report(report, webhook_id, as_json=as_json)
        return ExitCode.OK
    pending = report.deliveries.pending
    if as_json:
        output.print_json({"id": webhook_id, "deleted": True, "pending_deliveries": pending})
    output.note(f"Deleted {output.shown(webhook_id)}; a running router cancels its pending deliveries ({pending}).")
    return ExitCode.OK


async def _named(store: Store, webhook_ids: tuple[str, ...]) -> list[WebhookReport]:
    """The webhooks, each once. One that is not there stops everything before anything is done."""
    found = []
    for webhook_id in dict.fromkeys(webhook_ids):
        report = await queries.find_webhook(store.reader, WebhookId(webhook_id))
        if report is None:
            raise not_found(webhook_id)
        found.append(report)
    return found


async def _matching(store: Store, where: WebhookFilter) -> list[WebhookReport]:
    request = PageRequest(limit=MAX_LIMIT)
    page = await queries.list_webhooks(store.reader, where, request)
    found = list(page.items)
    while page.next is not None:
        page = await queries.list_webhooks(store.reader, where, replace(request, after=page.next))
        found += page.items
    return found


def _announce(verb: _Verb, found: list[WebhookReport], *, show: bool) -> None:
    if show and found:
        columns = ("ID", "ACCOUNT", "NAME", "TYPE", "STATE", "URL", "PENDING", "FAILED", "TOTAL")
        output.print_table(columns, [row(report) for report in found])
    text = f"{counted(len(found), 'webhook', 'webhooks')} to {verb.name}"
    if verb is _DELETE:
        pending = sum(report.deliveries.pending for report in found)
        text += f", with {counted(pending, 'pending delivery', 'pending deliveries')}"
    output.note(f"{text}.")
