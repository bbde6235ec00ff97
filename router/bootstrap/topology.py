"""`topology`: what `serve` would declare at the broker, what is there of it, and declaring it. Connects for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from router.adapters.http import management
from router.adapters.rabbitmq import ctl, inspection
from router.adapters.rabbitmq.policies import BrokerLine, policy_file
from router.bootstrap import convert
from router.domain.topology import RETURNED, AdminView, BrokerSeen, Line, Wanted, compare
from router.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyPlan:
    """`view` says through what bindings and policies were seen, and is empty where they were not; `why` says why."""

    broker: str
    view: str
    why: str
    lines: Sequence[Line]


def wanted(settings: Settings) -> Wanted:
    return inspection.wanted_of(convert.sources(settings), settings.amqp.events_exchange)


async def plan(settings: Settings, management_url: str | None) -> TopologyPlan:
    """Look, and change nothing. Raises DependencyUnavailable and ConfigurationRefused."""
    async with inspection.looking(convert.broker(settings)) as connection:
        seen = await inspection.inspect(connection, wanted(settings))
    view, why = await administrators_view(settings, seen, management_url)
    return TopologyPlan(
        broker=f"{seen.product} {seen.version}",
        view=view.origin if view is not None else "",
        why=why,
        lines=compare(wanted(settings), seen, view),
    )


async def apply(settings: Settings) -> None:
    """Declare what is missing. Raises DependencyUnavailable and ConfigurationRefused."""
    async with inspection.looking(convert.broker(settings)) as connection:
        await inspection.apply(connection, convert.sources(settings), settings.amqp.events_exchange)


def policies(settings: Settings, broker: BrokerLine) -> Mapping[str, Any]:
    """The policy file of these settings."""
    return policy_file([source.queue for source in settings.sources], convert.vhost(settings), broker)


async def administrators_view(
    settings: Settings, seen: BrokerSeen, management_url: str | None
) -> tuple[AdminView | None, str]:
    """Bindings, policies and arguments, by the management API or else by rabbitmqctl; or None, and why."""
    url = urlsplit(settings.amqp.url.get_secret_value())
    vhost, why = convert.vhost(settings), ""
    try:
        view = await management.look(
            management_url or _usual_management_url(settings),
            user=unquote(url.username or "guest"),
            password=unquote(url.password or "guest"),
            vhost=vhost,
            cluster=seen.cluster,
            queues=[*(source.queue for source in settings.sources), RETURNED],
        )
    except management.ManagementRefused as refusal:
        view, why = None, str(refusal)
    view = view or await ctl.look(vhost, seen.cluster)
    if view is None and not why:
        why = "no management API answers for this broker, and rabbitmqctl does not reach it from here"
    return view, "" if view is not None else why


def _usual_management_url(settings: Settings) -> str:
    url = urlsplit(settings.amqp.url.get_secret_value())
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname or "localhost"
    return f"https://{host}:15671" if url.scheme == "amqps" else f"http://{host}:15672"
