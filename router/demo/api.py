"""Asks the running router's read API how it sees things. Touches one port of loopback, blocking, on threads."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from router.domain.delivery import DeliveryStatus
from router.domain.errors import DependencyUnavailable

HOST: Final = "127.0.0.1"
_TIMEOUT_SECONDS: Final = 10
_PAGE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class HookCounts:
    """A webhook's deliveries as the router counts them; `failed` is every end but success."""

    total: int
    delivered: int
    failed: int
    pending: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many deliveries stand where, and how many messages became dead letters."""

    by_status: Mapping[DeliveryStatus, int]
    dead_letters: int

    @property
    def total(self) -> int:
        return sum(self.by_status.values())

    @property
    def pending(self) -> int:
        return self.by_status[DeliveryStatus.PENDING]

    @property
    def ended_badly(self) -> dict[DeliveryStatus, int]:
        """Those that are over without success."""
        going_well = (DeliveryStatus.PENDING, DeliveryStatus.DELIVERED)
        return {status: count for status, count in self.by_status.items() if status not in going_well}


@dataclass(frozen=True, slots=True)
class ReadApi:
    """The API of one router, with the token that opens it."""

    port: int
    token: str = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def is_ready(self) -> bool:
        try:
            status, _ = await self._get("/readyz")
        except DependencyUnavailable:
            return False
        return status == 200

    async def counts(self) -> Counts:
        """Raises DependencyUnavailable, as all that follow."""
        by_status = {status: await self.count(status) for status in DeliveryStatus}
        return Counts(by_status=by_status, dead_letters=await self._total("/v1/dead-letters"))

    async def hook_counts(self) -> dict[str, HookCounts]:
        """Every webhook's counts."""
        counts: dict[str, HookCounts] = {}
        cursor: str | None = None
        while True:
            more = {} if cursor is None else {"cursor": cursor}
            page = await self._read("/v1/webhooks", limit=_PAGE, **more)
            for item in page["items"]:
                counts[item["id"]] = HookCounts(**item["deliveries"])
            cursor = page["next_cursor"]
            if cursor is None:
                return counts

    async def latest_deliveries(self, hook_id: str, limit: int) -> list[dict[str, Any]]:
        """A webhook's newest deliveries, as the API has them."""
        page = await self._read("/v1/deliveries", webhook_id=hook_id, limit=limit)
        return list(page["items"])

    async def latest_dead_letters(self, limit: int) -> tuple[list[dict[str, Any]], int]:
        """The newest dead letters, as the API has them, and how many there are."""
        page = await self._read("/v1/dead-letters", limit=limit, include_total="true")
        return list(page["items"]), int(page["total"])

    async def count(self, status: DeliveryStatus) -> int:
        return await self._total("/v1/deliveries", status=status.value)

    async def _total(self, path: str, **query: str | int) -> int:
        page = await self._read(path, limit=1, include_total="true", **query)
        return int(page["total"])

    async def _read(self, path: str, **query: str | int) -> dict[str, Any]:
        status, body = await self._get(f"{path}?{urlencode(query)}")
        if status != 200:
            raise DependencyUnavailable(f"the read API answered {status} to GET {path}")
        content = json.loads(body)
        if not isinstance(content, dict):
            raise DependencyUnavailable(f"the read API answered nonsense to GET {path}")
        return content

    async def _get(self, target: str) -> tuple[int, bytes]:
        return await asyncio.to_thread(self._get_blocking, target)

    def _get_blocking(self, target: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("GET", target, headers={"Authorization": f"Bearer {self.token}"})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise DependencyUnavailable(
                f"the read API at {self.url} does not answer ({type(error).__name__})"
            ) from None
        finally:
            connection.close()
