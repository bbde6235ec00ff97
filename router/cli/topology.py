"""`topology`: exchanges, queues, bindings and policies at the broker: what is there, what is missing, declaring it."""

from __future__ import annotations

from typing import Any, Literal

import click

from router.cli import output
from router.cli.base import CommandFailedError, ExitCode, Group
from router.cli.options import json_option
from router.cli.session import Session
from router.domain.topology import Line, Presence

management_option = click.option(
    "--management-url",
    metavar="URL",
    help="RabbitMQ's management API.  [default: port 15672 of the broker's host, 15671 with amqps]",
)


@click.group("topology", cls=Group)
def topology() -> None:
    """What the router needs at RabbitMQ."""


@topology.example_command("plan", "webhook-router topology plan", "webhook-router topology plan --json")
@management_option
@json_option
@click.pass_obj
def plan(session: Session, /, *, management_url: str | None, as_json: bool) -> ExitCode:
    """Show what `serve` would declare, and how it was found; changes nothing.

    The exit code is 1 where something is missing or different. Bindings and policies are seen through the
    management API or rabbitmqctl; where neither answers they are `unseen`.
    """
    found = session.topology_plan(management_url)
    if as_json:
        output.print_json(
            {"broker": found.broker, "seen_through": found.view or None, "items": [_view(line) for line in found.lines]}
        )
    else:
        rows = [[line.presence, line.kind, output.shown(line.name), output.shown(line.detail)] for line in found.lines]
        output.print_table(("FOUND", "KIND", "NAME", "DETAIL"), rows)
        output.note(f"{found.broker}; bindings and policies: {found.view or found.why}.")
        _say_what_to_do(found.lines)
    return ExitCode.FAILED if any(map(_needs_something, found.lines)) else ExitCode.OK


@topology.example_command("apply", "webhook-router topology apply --dry-run", "webhook-router topology apply")
@click.option("--dry-run", is_flag=True, help="Show what would be declared, and declare nothing.")
@json_option
@click.pass_obj
def apply(session: Session, /, *, dry_run: bool, as_json: bool) -> None:
    """Declare the exchanges, queues and bindings that are missing, as `serve` does at its start.

    Nothing that is there is changed. Policies are the administrator's to set: `webhook-router topology policies`.
    """
    lines = [line for line in session.topology_plan(None).lines if line.kind != "policy"]
    different = [line for line in lines if line.presence is Presence.DIFFERENT]
    if different:
        said = "; ".join(f"{line.kind} {line.name!r}: {line.detail}" for line in different)
        raise CommandFailedError(f"nothing was declared, because something is there and different: {said}")
    # What cannot be seen is declared too: a binding that is there stays as it is.
    wanted = [line for line in lines if line.presence in {Presence.MISSING, Presence.UNSEEN}]
    output.note(f"{len(wanted)} to declare.")
    if not dry_run and wanted:
        session.topology_apply()
        output.note("Declared.")
    if as_json:
        output.print_json({"declared": [_view(line) for line in wanted], "dry_run": dry_run})
    else:
        for line in wanted:
            click.echo(f"{line.kind} {output.shown(line.name)}")


@topology.example_command(
    "policies",
    "webhook-router topology policies > policies.json",
    "webhook-router topology policies --broker 4 > policies.json",
)
@click.option(
    "--broker",
    type=click.Choice(["3.10", "4"]),
    default="3.10",
    show_default=True,
    help="3.10 and everything since, or 4.x alone.",
)
@click.option("--json", "as_json", is_flag=True, help="Changes nothing: the file is JSON.")
@click.pass_obj
def policies(session: Session, /, *, broker: Literal["3.10", "4"], as_json: bool) -> None:
    """Print the policy file of these settings, for `rabbitmqctl import_definitions`."""
    output.print_json(session.topology_policies(broker))


def _view(line: Line) -> dict[str, Any]:
    return {"kind": line.kind, "name": line.name, "found": line.presence.value, "detail": line.detail or None}


def _needs_something(line: Line) -> bool:
    return line.presence in {Presence.MISSING, Presence.DIFFERENT}


def _say_what_to_do(lines: Any) -> None:
    in_need = [line for line in lines if _needs_something(line)]
    if any(line.kind != "policy" and line.presence is Presence.MISSING for line in in_need):
        output.note("`webhook-router topology apply` declares what is missing; so does the next start.")
    if any(line.kind == "policy" for line in in_need):
        output.note("`webhook-router topology policies` prints the policies for `rabbitmqctl import_definitions`.")
