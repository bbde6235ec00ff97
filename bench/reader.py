"""What a page of the console costs on a large log: CPU of the process that makes it, beside the time that it takes.

A router of the role `api` is asked over HTTP; the embedded store on the same machine carries the log.
"""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from pymongo import AsyncMongoClient

from bench.harness import LOG, Bench, on_fresh_store, process, say
from bench.samples import cpu_seconds
from router.adapters.embedded.processes import free_ports

DATABASE: Final = "bench_reader"
TOKEN: Final = "token-of-the-bench"
ACCOUNT: Final = "bench"
WEBHOOKS: Final = 50
BATCH: Final = 2_000
PAYLOAD: Final = b'{"id": "evt", "data": {"caller": {"number": "+33639981122"}, "notes": "%s"}}' % (b"x" * 700)
ATTEMPT: Final = {
    "number": 1, "trigger": "schedule", "duration_ms": 84, "status_code": 503, "error": "http_status",
    "response_body": "Service Unavailable", "response_truncated": False,
}  # fmt: skip


def pages(number: int) -> dict[str, str]:
    """The pages that are measured, for the delivery of that number."""
    return {
        "webhooks": f"/webhooks?account={ACCOUNT}",
        "deliveries": "/deliveries?period=all",
        "deliveries of a webhook": f"/webhooks/wh_{number % WEBHOOKS}/deliveries?period=7d",
        "deliveries by number": f"/deliveries?number=%2B336{number:08}",
        "delivery": f"/deliveries/dlv_{number:08}",
        "delivery, request": f"/deliveries/dlv_{number:08}?tab=request",
        "call": f"/calls/c-{number}?account={ACCOUNT}",
        "search": f"/search?q=wh_{number % WEBHOOKS}.example.com/none",
        "health": "/health",
    }


@on_fresh_store
async def reader(bench: Bench) -> None:
    """CPU and time of each page of the console, on a log of many deliveries."""
    (port,) = free_ports(1)
    environment = {
        "ROUTER_MONGO__URL": bench.mongo_url,
        "ROUTER_MONGO__DATABASE": DATABASE,
        "ROUTER_API__PORT": str(port),
        "ROUTER_API__ADMIN_TOKEN": TOKEN,
        "ROUTER_LOG__FORMAT": "json",
        "ROUTER_LOG__HASH_KEY": "key-of-the-bench",
        **({"ROUTER_MONGO__DRIVER": bench.options.driver} if bench.options.driver else {}),
    }

    async def is_ready() -> bool:
        try:
            return Visitor(port).ask("/readyz")[0] == 200
        except OSError:
            return False

    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(bench.mongo_url)
    try:
        await client.drop_database(DATABASE)
        # The router makes the indexes, so it is there before the log is.
        async with process("-m", "router", "serve", "--role", "api", ready=is_ready, log=LOG, **environment) as pid:
            await fill(client[DATABASE], bench.options.deliveries)
            visitor = Visitor(port)
            visitor.sign_in()
            figures = {
                name: measure(visitor, pid, name, bench.options.deliveries, bench.options.visits) for name in pages(0)
            }
    finally:
        await client.close()
    bench.figures["reader"] = {"deliveries": bench.options.deliveries, "pages": figures}


def measure(visitor: Visitor, pid: int, name: str, deliveries: int, visits: int) -> dict[str, float]:
    """`visits` of one page, each for another delivery, after a few that are not counted."""
    numbers = [(each + 1) * (deliveries // (visits + 6)) for each in range(visits + 5)]
    for number in numbers[:5]:
        visitor.page(pages(number)[name])
    cpu, began, size = cpu_seconds(pid), time.monotonic(), 0
    for number in numbers[5:]:
        size += visitor.page(pages(number)[name])
    seconds, spent = time.monotonic() - began, cpu_seconds(pid) - cpu
    found = {
        "cpu_ms": round(spent / visits * 1000, 1),
        "ms": round(seconds / visits * 1000, 1),
        "kib": round(size / visits / 1024, 1),
    }
    say(f"  {name:24} {found}")
    return found


class Visitor:
    """A browser without a screen, with one connection and one session."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._cookie = ""

    def ask(self, target: str, form: dict[str, str] | None = None) -> tuple[int, http.client.HTTPMessage, bytes]:
        headers = {"Accept": "text/html", "Cookie": self._cookie, "Sec-Fetch-Site": "same-origin"}
        if form is None:
            self._connection.request("GET", target, headers=headers)
        else:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            self._connection.request("POST", target, urlencode(form), headers)
        answer = self._connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def sign_in(self) -> None:
        _, headers, _ = self.ask("/sign-in", {"token": TOKEN, "next": "/"})
        self._cookie = (headers["Set-Cookie"] or "").partition(";")[0]

    def page(self, target: str) -> int:
        """The bytes of a page that must be there."""
        status, _, body = self.ask(target)
        if status != 200:
            raise SystemExit(f"{target} answered {status}")
        return len(body)


# --- the log ---------------------------------------------------------------------------------------


async def fill(database: Any, count: int) -> None:
    """An account with webhooks, and `count` events with a delivery each, as the router writes them."""
    say(f"  writing {count} deliveries")
    await database["accounts"].insert_one({"_id": ACCOUNT, "webhooks_enabled": True})
    await database["webhooks"].insert_many(_webhooks())
    await database["webhook_health"].insert_many([{"_id": f"wh_{n}", "failing_since": _at(n)} for n in range(WEBHOOKS)])
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        await database["events"].insert_many([_event(number) for number in numbers])
        await database["deliveries"].insert_many([_delivery(number, count) for number in numbers])
        await asyncio.sleep(0)


def _at(number: int) -> datetime:
    """When the delivery of that number was received: the log ends now, one a second."""
    return _END - timedelta(seconds=number)


_END: Final = datetime.now(UTC)


def _webhooks() -> Iterator[dict[str, Any]]:
    for number in range(WEBHOOKS):
        yield {
            "_id": f"wh_{number}",
            "account_id": ACCOUNT,
            "name": f"CRM {number}",
            "url": f"https://wh-{number}.example.com/hooks",
            "event_type": "call",
            "enabled": True,
            "restrict_to": None,
            "created_at": _END - timedelta(days=30),
            "updated_at": _END,
        }


def _event(number: int) -> dict[str, Any]:
    return {
        "_id": f"ev_{number:08}",
        "account_id": ACCOUNT,
        "event_id": f"evt-{number}",
        "type": "call",
        "name": "call.received",
        "call_id": f"c-{number}",
        "occurred_at": _at(number),
        "born_at": _at(number),
        "received_at": _at(number),
        "sequence": 1,
        "tracking_number": "+33199001234",
        "source": "call",
        "account_enabled": True,
        "trace": [
            {"webhook_id": f"wh_{each}", "verdict": "matched" if each == number % WEBHOOKS else "paused"}
            for each in range(WEBHOOKS)
        ],
        "payload": PAYLOAD,
    }


def _delivery(number: int, count: int) -> dict[str, Any]:
    is_pending = number % 100 == 0 and number < count // 10
    return {
        "_id": f"dlv_{number:08}",
        "event": f"ev_{number:08}",
        "account_id": ACCOUNT,
        "webhook_id": f"wh_{number % WEBHOOKS}",
        "event_id": f"evt-{number}",
        "event_type": "call",
        "event_name": "call.received",
        "call_id": f"c-{number}",
        "user_id": None,
        "search": [f"event:evt-{number}", f"call:c-{number}", *_numbers(number)],
        "status": "pending" if is_pending else "failed" if number % 7 == 0 else "delivered",
        "reason": "exhausted" if number % 7 == 0 and not is_pending else None,
        "url": f"https://wh-{number % WEBHOOKS}.example.com/hooks",
        "attempt_count": 1,
        "attempts": [{**ATTEMPT, "started_at": _at(number)}],
        "next_attempt_at": _END if is_pending else None,
        "created_at": _at(number),
        "completed_at": None if is_pending else _at(number),
        "lease": {"owner": None, "fence": 1},
        **({"due_at": _END} if is_pending else {}),
    }


def _numbers(number: int) -> list[str]:
    return [f"number:{each[::-1]}" for each in ("33199001234", f"336{number:08}")]


def reader_report(part: dict[str, Any]) -> list[str]:
    lines = [f"reader       a log of {part['deliveries']} deliveries"]
    lines += [
        f"  {name:24} {at['cpu_ms']:6.1f} ms CPU   {at['ms']:7.1f} ms   {at['kib']:6.1f} KiB"
        for name, at in part["pages"].items()
    ]
    return lines
