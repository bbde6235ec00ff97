"""The doctor's round: all groups are looked at at once, and one that does not answer holds up no other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from router.bootstrap.doctor import broker, configuration, egress, network, process, store
from router.daemon import end_leftovers
from router.domain.diagnosis import Finding, Ward
from router.domain.errors import RouterError
from router.settings import Problem, Settings

GROUP_SECONDS: Final = 20.0
"""For one group. All of them together take no longer."""

Look = Callable[[], Awaitable[Iterable[Finding]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    name: str
    look: Look


async def diagnose(settings: Settings, *, management_url: str | None = None) -> list[Finding]:
    """All that can be said of these settings and what they lead to, in the order of the groups."""
    findings = await make_rounds(
        [
            Group(name=configuration.GROUP, look=lambda: configuration.look(settings)),
            Group(name=network.GROUP, look=lambda: network.look(settings)),
            Group(name=broker.GROUP, look=lambda: broker.look(settings, management_url)),
            Group(name=store.GROUP, look=lambda: store.look(settings)),
            Group(name=egress.GROUP, look=lambda: egress.look(settings)),
            Group(name=process.GROUP, look=lambda: process.look(settings)),
        ]
    )
    # A library can hold on to a connection that was given up; the end of the loop would wait for it.
    await end_leftovers()
    return findings


def diagnose_without_settings(problems: Sequence[Problem]) -> list[Finding]:
    """What can be said where the configuration is wrong: that it is, and that nothing else was looked at."""
    return configuration.wrong(problems)


async def make_rounds(groups: Sequence[Group], group_seconds: float = GROUP_SECONDS) -> list[Finding]:
    """The findings of all groups; one that takes too long or raises is a finding itself."""
    tasks = [asyncio.create_task(_findings(group), name=f"doctor-{group.name}") for group in groups]
    await asyncio.wait(tasks, timeout=group_seconds)
    findings: list[Finding] = []
    for group, task in zip(groups, tasks, strict=True):
        if task.done():
            findings += task.result()
            continue
        task.cancel()
        findings.append(
            Ward(group.name).fail(
                "all of it",
                f"no answer within {group_seconds:.0f} s",
                "See whether the host stands still, and the network.",
            )
        )
    return findings


async def _findings(group: Group) -> list[Finding]:
    ward = Ward(group.name)
    try:
        return list(await group.look())
    except RouterError as error:
        return [ward.fail("all of it", str(error), "`webhook-router check-config` shows which servers are meant.")]
    except Exception as error:  # a bug in one group must not hide what the others found
        return [ward.fail("all of it", f"the look itself failed ({type(error).__name__})", "Report it, please.")]
