"""`migrate`: what is in the store becomes what this release works with; what routers make of it by themselves, and
what they wait for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from router.cli import output
from router.cli.base import CommandFailedError, Group
from router.cli.options import json_option
from router.cli.session import Session, Store, auditor
from router.domain.audit import AuditAction
from router.domain.schema import CHANGES, KNOWN, Change, Phase, Schema

if TYPE_CHECKING:
    from router.settings import Settings

PROGRESS_STEP: Final = 50_000
"""Documents between two lines of progress."""


@click.group("migrate", cls=Group)
def migrate() -> None:
    """Change what is in the store to what this release works with.

    Routers make by themselves what older ones do not mind, while they run. What takes away something that older
    routers need waits for `migrate apply`.
    """


@migrate.example_command("plan", "webhook-router migrate plan", "webhook-router migrate plan --json")
@json_option
@click.pass_obj
def plan(session: Session, /, *, as_json: bool) -> None:
    """Show every change, whether it was made, and what it has to look at."""

    async def work(store: Store, _: Settings) -> tuple[Schema, dict[int, int]]:
        schema = await store.schema.read()
        pending = schema.pending(contract=True)
        return schema, {change.number: await store.schema.size(change) for change in pending}

    schema, sizes = session.with_store(work)
    if as_json:
        output.print_json(_schema_object(schema, sizes))
        return
    rows = [
        (
            str(change.number),
            change.name,
            change.phase.value,
            _state(change, schema),
            output.shown(sizes.get(change.number)),
            change.text,
        )
        for change in CHANGES
    ]
    output.print_table(("NUMBER", "NAME", "PHASE", "STATE", "DOCUMENTS", "WHAT"), rows)


def _state(change: Change, schema: Schema) -> str:
    if change.number in schema.done:
        return "done"
    return "routers make it" if change.phase is Phase.EXPAND else "waits for apply"


def _schema_object(schema: Schema, sizes: dict[int, int]) -> dict[str, object]:
    return {
        "version": schema.version,
        "needs": schema.needs,
        "known": KNOWN,
        "changes": [
            {
                "number": change.number,
                "name": change.name,
                "phase": change.phase.value,
                "done": change.number in schema.done,
                "documents": sizes.get(change.number),
            }
            for change in CHANGES
        ],
    }


@migrate.example_command(
    "apply",
    "webhook-router migrate apply --dry-run",
    "webhook-router migrate apply",
    "webhook-router migrate apply --json",
)
@click.option("--dry-run", is_flag=True, help="Say what is to do, and do nothing.")
@json_option
@click.pass_obj
def apply(session: Session, /, *, dry_run: bool, as_json: bool) -> None:
    """Make every change that is left, also those after which older routers cannot go on.

    Only once no router of an older release runs any more, on any host: such a router refuses to start afterwards.
    Routers of this release go on meanwhile. Broken off, it is simply run again.
    """

    async def work(store: Store, _: Settings) -> tuple[Schema, list[Change]]:
        schema = await store.schema.read()
        pending = schema.pending(contract=True)
        output.note(f"{len(pending)} change{'' if len(pending) == 1 else 's'} to make.")
        if pending and not dry_run:
            await auditor(store).note(AuditAction.SCHEMA_MIGRATED, target=str(KNOWN), changes=len(pending))
            await _make_all(store, pending)
            schema = await store.schema.read()
        return schema, pending

    schema, pending = session.with_store(work)
    if as_json:
        output.print_json(
            {"dry_run": dry_run, "version": schema.version, "changes": [change.number for change in pending]}
        )
    elif dry_run:
        for change in pending:
            output.note(f"{change.number} {change.name}: {change.text}")


async def _make_all(store: Store, pending: Sequence[Change]) -> None:
    for change in pending:
        step, told = None, 0
        async for step in store.schema.apply(change):
            if step.seen >= told + PROGRESS_STEP:
                told = step.seen
                output.note(f"{change.name}: {step.seen} documents …")
        if step is None or not step.done:
            raise CommandFailedError(
                f"another process is making change {change.number} ({change.name}): wait a minute, look with "
                "`webhook-router migrate plan`, and run this again"
            )
        output.note(f"{change.number} {change.name}: {step.written} of {step.seen} documents written.")
