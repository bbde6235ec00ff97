"""`deliveries replay`: deliveries that are sent again, by id or in bulk."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from router.application import replay as application
from router.application.replay import ReplayDraft, ReplayPlan
from router.cli import output, views
from router.cli.base import Command, CommandFailedError, ExitCode
from router.cli.filters import OPTIONS, delivery_filter, filter_options
from router.cli.options import json_option, usage_error
from router.cli.session import Session, Store, auditor, principal
from router.domain.delivery import DeliveryId
from router.domain.errors import Conflict, InvalidInput, OutOfSight
from router.domain.replay import ReplayKind, ReplayState
from router.ports import Replay

if TYPE_CHECKING:
    from router.settings import Settings

LOOK_SECONDS: Final = 0.5
STILL_SECONDS: Final = 15.0
"""A replay that has not moved for so long is said to stand still."""
_FIELDS: Final = {
    "filter": "the filter",
    "filter.account_id": "--account",
    "filter.webhook_id": "--webhook",
    "filter.event_type": "--event-type",
    "filter.status": "--status",
    "filter.event_id": "--event",
    "filter.call_id": "--call",
    "filter.user_id": "--user",
    "filter.number": "--number",
    "filter.from": "--from",
    "per_second": "--per-second",
    "reason": "--reason",
}
"""Where each field is typed."""


@click.command(
    "replay",
    cls=Command,
    examples=(
        "webhook-router deliveries replay dlv_3f2a dlv_77c0 --reason 'CRM was down, ticket 4711'",
        "webhook-router deliveries replay --webhook wh_crm --from 2h --dry-run",
        "webhook-router deliveries replay --webhook wh_crm --from 2026-11-24T14:00 --to 2026-11-24T16:00 --yes",
        "webhook-router deliveries replay --account 1042 --missing --from 1d --yes --no-wait --json",
    ),
)
@click.argument("delivery_ids", metavar="[ID]...", nargs=-1)
@filter_options
@click.option("--missing", is_flag=True, help="Events that matched no webhook, tried again on today's definitions.")
@click.option("--reason", metavar="TEXT", help="Why, for the audit trail.")
@click.option("--per-second", type=float, metavar="N", help="How many a second.  [default: replay.per_second]")
@click.option("--dry-run", is_flag=True, help="Say how many, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before a bulk replay.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Whether to wait for the end of a bulk replay.")
@json_option
@click.pass_obj
def replay_deliveries(
    session: Session,
    /,
    *,
    delivery_ids: tuple[str, ...],
    missing: bool,
    reason: str | None,
    per_second: float | None,
    dry_run: bool,
    yes: bool,
    wait: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Send deliveries again: those with these ids, or all that the options say.

    Without --status every end but success is meant. Also paused and suspended webhooks get them. A bulk replay is
    worked off by the running router, and goes on when this command is interrupted.
    """
    is_bulk = missing or any(options[name] is not None for name in OPTIONS)
    if is_bulk == bool(delivery_ids):
        raise click.UsageError("give the ids of deliveries, or options that say which", click.get_current_context())
    try:
        if delivery_ids:
            return _replay_each(session, delivery_ids, reason, dry_run=dry_run, as_json=as_json)

        def draft(settings: Settings) -> ReplayDraft:
            where = delivery_filter(settings.numbers.default_country, **options)
            return ReplayDraft(where=where, missing=missing, reason=reason, per_second=per_second)

        outcome = session.with_store(
            lambda store, settings: _replay_many(
                store, settings, draft(settings), dry_run=dry_run, needs_yes=not yes, wait=wait
            )
        )
    except InvalidInput as error:
        raise usage_error(error, _FIELDS) from None
    return _report(outcome, waited=wait, as_json=as_json)


# --- those with these ids ---


@dataclass(slots=True, kw_only=True)
class _Each:
    """What became of each delivery, or with `dry_run` would be tried."""

    wanted: list[DeliveryId]
    dry_run: bool
    replayed: list[str] = field(default_factory=list)
    failed: dict[DeliveryId, str] = field(default_factory=dict)


def _replay_each(
    session: Session, delivery_ids: tuple[str, ...], reason: str | None, *, dry_run: bool, as_json: bool
) -> int:
    async def work(store: Store, _: Settings) -> _Each:
        wanted = await _existing(store, delivery_ids)
        outcome = _Each(wanted=wanted, dry_run=dry_run)
        for identity in [] if dry_run else wanted:
            try:
                await application.replay_delivery(
                    store.replays,
                    store.reader,
                    identity,
                    reason=reason,
                    now=store.now(),
                    audit=auditor(store),
                )
            except Conflict as error:
                outcome.failed[identity] = str(error)
            else:
                outcome.replayed.append(identity)
        return outcome

    return _report_each(session.with_store(work), as_json=as_json)


async def _existing(store: Store, delivery_ids: tuple[str, ...]) -> list[DeliveryId]:
    """The ids, each once. One that is not there stops everything before anything is done."""
    wanted = [DeliveryId(identity) for identity in dict.fromkeys(delivery_ids)]
    for identity in wanted:
        if await store.reader.delivery(identity) is None:
            raise CommandFailedError(
                f"there is no delivery {output.shown(identity)}; `webhook-router deliveries list` shows those there are"
            )
    return wanted


def _report_each(outcome: _Each, *, as_json: bool) -> int:
    if as_json:
        output.print_json(
            {
                "count": len(outcome.wanted),
                "dry_run": outcome.dry_run,
                "replayed": outcome.replayed,
                "failed": [{"id": identity, "error": text} for identity, text in outcome.failed.items()],
            }
        )
    elif outcome.dry_run:
        for identity in outcome.wanted:
            click.echo(identity)
    for identity, text in outcome.failed.items():
        output.note(f"Not replayed: {output.shown(identity)}: {output.harmless(text)}")
    if outcome.dry_run:
        output.note(f"{len(outcome.wanted)} to replay.")
    else:
        output.note(f"{len(outcome.replayed)} replayed, {len(outcome.failed)} not.")
    return ExitCode.FAILED if outcome.failed else ExitCode.OK


# --- all that the options say ---


async def _replay_many(
    store: Store, settings: Settings, draft: ReplayDraft, *, dry_run: bool, needs_yes: bool, wait: bool
) -> Replay | ReplayPlan:
    by = principal()
    try:
        plan = await application.plan_replay(store.replays, store.reader, draft, by=by, now=store.now())
    except OutOfSight:
        raise CommandFailedError(
            f"there is no webhook {output.shown(draft.where.webhook_id)}; "
            "`webhook-router webhooks list` shows those there are"
        ) from None
    output.note(f"{plan.matched} {_noun(plan)} to replay.")
    if dry_run or not plan.matched:
        return plan
    _confirm(needed=needs_yes)
    started = await application.start_replay(
        store.replays,
        store.reader,
        draft,
        default_per_second=settings.replay.per_second,
        by=by,
        now=store.now(),
        randomness=secrets.token_bytes,
        audit=auditor(store),
    )
    output.note(f"Replay {started.id} is under way; `webhook-router replays cancel {started.id}` stops it.")
    return await _wait(store, started) if wait else started


def _noun(plan: ReplayPlan) -> str:
    what = "event that matched nothing" if plan.kind is ReplayKind.MISSING else "delivery"
    if plan.matched == 1:
        return what
    return "events that matched nothing" if plan.kind is ReplayKind.MISSING else "deliveries"


def _confirm(*, needed: bool) -> None:
    if not needed:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to be asked: a bulk replay needs --yes", click.get_current_context())
    if not click.confirm("Send them again?", err=True):
        raise CommandFailedError("nothing was replayed")


async def _wait(store: Store, replay: Replay) -> Replay:
    """The replay once it is over."""
    moved_at, told = time.monotonic(), False
    with _progress(replay) as show_progress:
        while replay.state is ReplayState.RUNNING:
            await asyncio.sleep(LOOK_SECONDS)
            now = await store.replays.replay(replay.id) or replay
            if now.done != replay.done:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > STILL_SECONDS and not told:
                output.note("It stands still: is a worker running, and is there room beside first attempts?")
                told = True
            replay = now
            show_progress(replay)
    return replay


@contextmanager
def _progress(replay: Replay) -> Iterator[Callable[[Replay], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415  takes as long to load as the rest of the command line
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn  # noqa: PLC0415

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=replay.matched)
        yield lambda now: bar.update(task, completed=now.done)


def _report(outcome: Replay | ReplayPlan, *, waited: bool, as_json: bool) -> int:
    if isinstance(outcome, ReplayPlan):
        if as_json:
            output.print_json(views.replay_preview(outcome))
        return ExitCode.OK
    if as_json:
        output.print_json(views.replay(outcome))
    else:
        click.echo(outcome.id)
    if waited:
        skipped = "".join(f", {count} passed over ({why.value})" for why, count in outcome.skipped.items())
        output.note(f"{outcome.state.value.capitalize()}: {outcome.released} sent again{skipped}.")
    return ExitCode.FAILED if outcome.state is ReplayState.CANCELLED else ExitCode.OK
