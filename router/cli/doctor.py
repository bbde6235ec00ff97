"""`doctor`: shows what was found, group by group, each with its remedy. Prints; the looking is bootstrap's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

import click

from router.cli import output
from router.cli.base import Command
from router.cli.options import json_option
from router.cli.session import Session
from router.cli.topology import management_option
from router.domain.diagnosis import Finding, Level, worst

EXIT_CODES: Final[Mapping[Level, int]] = {Level.OK: 0, Level.WARN: 1, Level.FAIL: 2}
_COLOURS: Final[Mapping[Level, str]] = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


@click.command(
    "doctor",
    cls=Command,
    examples=(
        "webhook-router doctor",
        "webhook-router doctor --config /etc/webhook-router/router.toml",
        "webhook-router doctor --json | jq '.findings[] | select(.level != \"ok\")'",
    ),
)
@management_option
@json_option
@click.pass_obj
def doctor(session: Session, /, *, management_url: str | None, as_json: bool) -> int:
    """Look at everything that the router needs, and say what to do about what is wrong.

    Settings, names, TLS, RabbitMQ, MongoDB, clock, indexes, keys, the egress policy, descriptors and what manages the
    process. Nothing is changed anywhere. The exit code is 0 where all is well, 1 with warnings, 2 with failures.
    """
    findings = session.diagnose(management_url)
    verdict = worst(findings)
    if as_json:
        output.print_json({"verdict": verdict.value, "findings": [_view(each) for each in findings]})
    else:
        _show(findings)
        counts = {level: sum(each.level is level for each in findings) for level in Level}
        output.note(", ".join(f"{count} {level.value}" for level, count in counts.items()))
    return EXIT_CODES[verdict]


def _view(finding: Finding) -> dict[str, str | None]:
    return {
        "group": finding.group,
        "name": finding.name,
        "level": finding.level.value,
        "seen": finding.seen,
        "remedy": finding.remedy or None,
    }


def _show(findings: Sequence[Finding]) -> None:
    alike = groupby(findings, key=lambda each: (each.group, each.level, each.seen, each.remedy or each.name))
    lines = [line for _, group in alike for line in _together(list(group))]
    width = max(len(line.name) for line in lines)
    for group, members in groupby(lines, key=lambda line: line.group):
        click.echo(output.styled(group, bold=True))
        for each in members:
            level = output.styled(f"{each.level.value:<4}", fg=_COLOURS[each.level])
            click.echo(f"  {level}  {output.harmless(each.name):<{width}}  {output.harmless(each.seen)}")
            if each.remedy:
                click.echo(f"  {'':<4}  {'':<{width}}  -> {output.harmless(each.remedy)}")


def _together(alike: Sequence[Finding]) -> Sequence[Finding]:
    """Findings in a row of which the same is to be said, as one: a server that is away is said once."""
    if len(alike) == 1:
        return alike
    return [replace(alike[0], name="the rest", seen=f"{', '.join(each.name for each in alike)}: {alike[0].seen}")]
