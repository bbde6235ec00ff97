"""`indexes`: the indexes of the store: what is there, missing, different or not ours; creating them."""

from __future__ import annotations

from typing import Any

import click

from router.cli import output
from router.cli.base import CommandFailedError, ExitCode, Group
from router.cli.options import json_option
from router.cli.session import Session
from router.domain.topology import Line, Presence


@click.group("indexes", cls=Group)
def indexes() -> None:
    """The indexes of the store."""


@indexes.example_command("plan", "webhook-router indexes plan", "webhook-router indexes plan --json")
@json_option
@click.pass_obj
def plan(session: Session, /, *, as_json: bool) -> ExitCode:
    """Show every index as it was found; changes nothing.

    `extra` is not ours, and is paid for at each write. The exit code is 1 where one is missing or different.
    """
    lines = session.indexes_plan()
    if as_json:
        output.print_json([_view(line) for line in lines])
    else:
        rows = [[line.presence, output.shown(line.name), output.shown(line.detail)] for line in lines]
        output.print_table(("FOUND", "INDEX", "DETAIL"), rows)
        if any(line.presence is Presence.MISSING for line in lines):
            output.note("`webhook-router indexes apply` creates what is missing; so does the next start.")
    in_need = {Presence.MISSING, Presence.DIFFERENT} & {line.presence for line in lines}
    return ExitCode.FAILED if in_need else ExitCode.OK


@indexes.example_command("apply", "webhook-router indexes apply --dry-run", "webhook-router indexes apply")
@click.option("--dry-run", is_flag=True, help="Show what would be created, and create nothing.")
@json_option
@click.pass_obj
def apply(session: Session, /, *, dry_run: bool, as_json: bool) -> None:
    """Create the indexes that are missing, as a start does; on a large collection that takes MongoDB some time.

    Before an upgrade: then the start that follows does not wait for them. None is changed or dropped.
    """
    lines = session.indexes_plan()
    different = [f"{line.name} {line.detail}" for line in lines if line.presence is Presence.DIFFERENT]
    if different:
        raise CommandFailedError(
            f"nothing was created, because an index is there and different: {'; '.join(different)}. "
            "Drop it with dropIndex in mongosh, and say this again"
        )
    missing = [line for line in lines if line.presence is Presence.MISSING]
    output.note(f"{len(missing)} to create.")
    if missing and not dry_run:
        session.indexes_apply()
        output.note("Created.")
    if as_json:
        output.print_json({"created": [_view(line) for line in missing], "dry_run": dry_run})
    else:
        for line in missing:
            click.echo(f"{output.shown(line.name)}  {output.shown(line.detail)}")


def _view(line: Line) -> dict[str, Any]:
    return {"index": line.name, "found": line.presence.value, "detail": line.detail or None}
