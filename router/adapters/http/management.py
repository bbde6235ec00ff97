"""The broker as its administrator sees it, by the HTTP API of RabbitMQ's management plugin. Asks; changes nothing.

It is asked with user and password of `amqp.url`, at the broker's own host unless somebody says where. The egress policy
is for customers' addresses and has no part in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from router.domain.topology import AdminView, AppliedPolicy, Binding

ANSWER_SECONDS: Final = 5.0


class ManagementRefused(Exception):
    """The API is there and does not tell; the text says why."""


async def look(
    base_url: str, *, user: str, password: str, vhost: str, cluster: str, queues: Sequence[str]
) -> AdminView | None:
    """What the API says of `queues`; None where nothing answers or another broker does. Raises ManagementRefused."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    auth = aiohttp.BasicAuth(user, password, encoding="utf-8")
    async with aiohttp.ClientSession(timeout=timeout, auth=auth, trust_env=False) as session:
        api = _Api(session, base_url.rstrip("/") + "/api", quote(vhost, safe=""))
        try:
            overview = await api.get("overview")
            if overview is None or overview.get("cluster_name") != cluster:
                return None
            return await _view(api, base_url, queues)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
            return None


class _Api:
    def __init__(self, session: aiohttp.ClientSession, url: str, vhost: str) -> None:
        self._session = session
        self._url = url
        self.vhost = vhost

    async def get(self, path: str) -> Any:
        """The JSON of a path; None where there is no such thing."""
        async with self._session.get(f"{self._url}/{path}", allow_redirects=False) as answer:
            if answer.status == 404:
                return None
            if answer.status in {401, 403}:
                raise ManagementRefused(
                    "the management API does not let the user of amqp.url in: it needs the tag management"
                )
            answer.raise_for_status()
            return await answer.json(content_type=None)


async def _view(api: _Api, base_url: str, queues: Sequence[str]) -> AdminView:
    found: dict[str, Any] = {}
    for name in queues:
        queue = await api.get(f"queues/{api.vhost}/{quote(name, safe='')}")
        if queue is not None:
            found[name] = queue
    bindings: list[Binding] = []
    for name in found:
        bindings += map(_binding, await api.get(f"queues/{api.vhost}/{quote(name, safe='')}/bindings") or [])
    await _follow({str(each) for each in map(_dead_letter_exchange, found.values()) if each}, api, bindings)
    return AdminView(
        origin=f"the management API at {base_url}",
        arguments={name: queue.get("arguments") or {} for name, queue in found.items()},
        policies={name: _policy(queue) for name, queue in found.items()},
        bindings=tuple(bindings),
    )


async def _follow(exchanges: set[str], api: _Api, bindings: list[Binding]) -> None:
    """Add where these exchanges lead, and those that they lead to."""
    known: set[str] = set()
    while exchanges:
        exchange = exchanges.pop()
        known.add(exchange)
        raw = await api.get(f"exchanges/{api.vhost}/{quote(exchange, safe='')}/bindings/source")
        leading = [_binding(each) for each in raw or []]
        bindings += leading
        exchanges |= {each.destination for each in leading if each.to_exchange} - known


def _policy(queue: Mapping[str, Any]) -> AppliedPolicy:
    # An empty table is an empty list there.
    return AppliedPolicy(
        name=queue.get("policy") or "", definition=dict(queue.get("effective_policy_definition") or {})
    )


def _dead_letter_exchange(queue: Mapping[str, Any]) -> object:
    from_policy = _policy(queue).definition.get("dead-letter-exchange")
    return (queue.get("arguments") or {}).get("x-dead-letter-exchange", from_policy)


def _binding(raw: Mapping[str, Any]) -> Binding:
    return Binding(
        exchange=raw["source"],
        destination=raw["destination"],
        key=raw["routing_key"],
        arguments=raw.get("arguments") or {},
        to_exchange=raw["destination_type"] == "exchange",
    )
