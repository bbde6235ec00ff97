"""`dead-letters`: messages that could not be understood, and their way back into the queue."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from router.application import manage, queries
from router.application.queries import PageRequest
from router.cli import output, views
from router.cli.base import CommandFailedError, ExitCode, Group
from router.cli.bulk import confirm
from router.cli.listing import Listing, paging_options, print_pages
from router.cli.options import REASONS, json_option
from router.cli.session import Session, Store, auditor
from router.domain.audit import AuditAction
from router.domain.errors import DependencyUnavailable, InvalidInput
from router.ports import StoredDeadLetter

if TYPE_CHECKING:
    from router.settings import Settings


@click.group("dead-letters", cls=Group)
def dead_letters() -> None:
    """Messages that could not be understood: look, requeue."""


@dead_letters.example_command(
    "list", "webhook-router dead-letters list", "webhook-router dead-letters list --all --json"
)
@paging_options
@json_option
@click.pass_obj
def list_(session: Session, /, *, as_json: bool, **paging: Any) -> None:
    """List dead letters, the newest first."""
    listing = Listing[StoredDeadLetter](
        ("RECEIVED", "ID", "SOURCE", "REASON", "DETAIL", "BYTES", "REQUEUED"),
        row=_row,
        view=views.dead_letter,
        as_json=as_json,
        when_empty="There are no dead letters.",
    )

    async def fetch(store: Store, request: PageRequest, _: Settings) -> queries.Page[StoredDeadLetter]:
        page = await queries.list_dead_letters(store.reader, request)
        if page.items and as_json:  # each shows the beginning of its message
            await auditor(store).note(AuditAction.DEAD_LETTER_REVEALED, listed=len(page.items))
        return page

    print_pages(session, fetch, listing, **paging)


def _row(letter: StoredDeadLetter) -> output.Row:
    values = (letter.received_at, letter.id, letter.source, letter.reason, letter.detail, letter.size)
    return [output.shown(value) for value in (*values, letter.requeued_at)]


@dead_letters.example_command(
    "show", "webhook-router dead-letters show dl_0195", "webhook-router dead-letters show dl_0195 --json | jq -r .body"
)
@click.argument("letter_id", metavar="ID")
@json_option
@click.pass_obj
def show(session: Session, /, *, letter_id: str, as_json: bool) -> None:
    """Show one dead letter with its body, which is base64 in the JSON."""

    async def work(store: Store, _: Settings) -> StoredDeadLetter | None:
        letter = await store.reader.dead_letter(letter_id)
        if letter is not None:
            await auditor(store).note(AuditAction.DEAD_LETTER_REVEALED, target=letter.id)
        return letter

    letter = session.with_store(work)
    if letter is None:
        raise _not_found(letter_id)
    if as_json:
        output.print_json(views.dead_letter_with_body(letter))
        return
    output.print_record(
        [
            ("dead letter", letter.id),
            ("received", letter.received_at),
            ("source", letter.source),
            ("exchange", letter.exchange),
            ("routing key", letter.routing_key),
            ("reason", f"{letter.reason}: {letter.detail}" if letter.detail else letter.reason),
            ("bytes", letter.size),
            ("content type", letter.content_type),
            ("requeued", letter.requeued_at),
        ]
    )
    if letter.raw is None:
        click.echo("\nbody  gone: retention.payload_days says how long bodies are kept")
    else:
        click.echo("\nbody")
        click.echo(output.harmless(letter.raw.body.decode("utf-8", "replace"), keep="\n\t\r"))


def _not_found(letter_id: str) -> CommandFailedError:
    return CommandFailedError(
        f"there is no dead letter {output.shown(letter_id)}; `webhook-router dead-letters list` shows those there are"
    )


# --- requeue ---------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Outcome:
    """What a requeue did, or with `dry_run` would do."""

    wanted: list[str]
    dry_run: bool
    requeued: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dead_letters.example_command(
    "requeue",
    "webhook-router dead-letters requeue dl_0195 dl_0196",
    "webhook-router dead-letters requeue --all --reason unknown_type --dry-run",
    "webhook-router dead-letters requeue --all --yes",
)
@click.argument("letter_ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that were not requeued yet.")
@click.option("--reason", type=REASONS, help="With --all: only those with this reason.")
@click.option("--dry-run", is_flag=True, help="Say how many, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before --all.")
@json_option
@click.pass_obj
def requeue(
    session: Session,
    /,
    *,
    letter_ids: tuple[str, ...],
    everything: bool,
    reason: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Send dead letters to the queue that they came from, byte for byte, the oldest first.

    What still cannot be understood comes back as a new dead letter.
    """
    _check_choice(letter_ids, everything=everything, reason=reason)

    async def work(store: Store, settings: Settings) -> _Outcome:
        if everything:
            wanted = await manage.requeueable_dead_letters(store.reader, reason=reason)
        else:
            wanted = await _existing(store, letter_ids)
        output.note(f"{len(wanted)} dead letter{'' if len(wanted) == 1 else 's'} to requeue.")
        outcome = _Outcome(wanted=wanted, dry_run=dry_run)
        if wanted and not dry_run:
            if everything and not yes:
                confirm("Requeue them?", refused="nothing was requeued", why="--all")
            await _requeue_all(session, store, settings, outcome)
        return outcome

    return _report(session.with_store(work), as_json=as_json)


def _check_choice(letter_ids: tuple[str, ...], *, everything: bool, reason: str | None) -> None:
    if everything == bool(letter_ids):
        raise click.UsageError("give the ids of dead letters, or --all", click.get_current_context())
    if reason is not None and not everything:
        raise click.UsageError("--reason goes with --all", click.get_current_context())


async def _existing(store: Store, letter_ids: tuple[str, ...]) -> list[str]:
    """The ids, each once. One that is not there stops everything before anything is done."""
    wanted = list(dict.fromkeys(letter_ids))
    for letter_id in wanted:
        if await store.reader.dead_letter(letter_id) is None:
            raise _not_found(letter_id)
    return wanted


async def _requeue_all(session: Session, store: Store, settings: Settings, outcome: _Outcome) -> None:
    queue_of_source = {source.name: source.queue for source in settings.sources}
    async with session.open_publisher(settings) as publisher:
        for letter_id in outcome.wanted:
            try:
                letter = await manage.requeue_dead_letter(
                    store.reader,
                    store.registry,
                    publisher,
                    letter_id,
                    queue_of_source=queue_of_source,
                    now=store.now(),
                    audit=auditor(store),
                )
            except InvalidInput as error:
                outcome.failed[letter_id] = str(error)
            except DependencyUnavailable:
                output.note(f"{len(outcome.requeued)} of {len(outcome.wanted)} were requeued before this:")
                raise
            else:
                if letter is None:  # its retention ended meanwhile
                    outcome.failed[letter_id] = "it is gone"
                else:
                    outcome.requeued.append(letter_id)


def _report(outcome: _Outcome, *, as_json: bool) -> int:
    if as_json:
        output.print_json(
            {
                "count": len(outcome.wanted),
                "dry_run": outcome.dry_run,
                "requeued": outcome.requeued,
                "failed": [{"id": letter_id, "error": text} for letter_id, text in outcome.failed.items()],
            }
        )
    elif outcome.dry_run:
        for letter_id in outcome.wanted:
            click.echo(letter_id)
    for letter_id, text in outcome.failed.items():
        output.note(f"Not requeued: {output.shown(letter_id)}: {output.harmless(text)}")
    if not outcome.dry_run:
        output.note(f"{len(outcome.requeued)} requeued, {len(outcome.failed)} not.")
    return ExitCode.FAILED if outcome.failed else ExitCode.OK
