"""One fault, from the first event to the verdict: a platform, a customer, routers, and the invariants afterwards.

    trial = await make_trial()                    # a fixture of tests/faults
    router = await trial.start_router()
    async with trial.stream(per_second=50):       # confirmed events, remembered
        ...                                       # break something
    trial.heal()                                  # the time to recover begins
    await trial.check(duplicates_allowed=0)       # nothing lost, nothing doubled, nothing in the logs

Touches the broker and the store that it is given, a scripted customer's server, and router processes.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aio_pika
from aio_pika.exceptions import AMQPError
from pymongo.errors import PyMongoError
from standardwebhooks import Webhook as Verifier

from router.domain.event import id_from_body
from tests.support.customer import Customer
from tests.support.events import encode, make_event
from tests.support.fault_report import Row, write_row
from tests.support.http_server import Request, in_thread
from tests.support.router_process import Platform, RouterProcess, wait_for

SETTLE_SECONDS: Final = 120.0
PUBLISH_SECONDS: Final = 5.0
ON_ITS_WAY_SECONDS: Final = 0.3
"""What a router sent before it died is with the customer by then."""
TERMINAL: Final = frozenset({"delivered", "failed", "expired", "cancelled"})
KILLPOINT: Final = "WEBHOOK_ROUTER_KILLPOINT"
DISARMED: Final = {KILLPOINT: ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Its number in the list, and what is done, in the words of the report."""

    number: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a trial of several faults at once tells of one of them: a row for the deliveries of some webhooks."""

    fault: Fault
    webhooks: frozenset[str]


@dataclass(slots=True, kw_only=True)
class Trial:
    """See the module. Webhooks are defined before the events that they match are published."""

    fault: Fault
    test: str
    platform: Platform
    directory: Path
    rows: Path | None
    account: str = ""
    customer: Customer = field(default_factory=Customer)
    routers: list[RouterProcess] = field(default_factory=list)
    webhooks: dict[str, str] = field(default_factory=dict)
    """Event type by webhook."""
    paths: dict[str, str] = field(default_factory=dict)
    """Webhook by path of the customer's server."""
    secrets: dict[str, str] = field(default_factory=dict)
    """Secret by path of the customer's server."""
    confirmed: dict[str, dict[str, Any]] = field(default_factory=dict)
    unconfirmed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Sent, and no confirmation came: they may have been taken or not."""
    expected: set[tuple[str, str]] = field(default_factory=set)
    """Event and webhook, of every confirmed event that matched when it was published."""
    parts: list[Part] = field(default_factory=list)
    """Where there are any, each has a row in the report instead of the trial."""
    healed_at: float | None = None
    recovered: str = ""
    recover_seconds: float | None = None
    _resources: AsyncExitStack = field(default_factory=AsyncExitStack)

    # --- life ---

    async def open(self) -> None:
        self._resources.enter_context(in_thread(self.customer.server))
        self.account = self.platform.enable_account()

    async def close(self) -> None:
        """End what still runs; looks at nothing."""
        for router in self.routers:
            with suppress(ProcessLookupError):
                if router.is_running:
                    router.go_on()
            await router.kill()
        await self._resources.aclose()
        with suppress(PyMongoError, AMQPError, OSError, TimeoutError):
            async with asyncio.timeout(10):
                await self.platform.close()

    async def start_router(self, *, killpoint: str = "", command: str = "serve", **settings: str) -> RouterProcess:
        """One more router of this platform, ready. Settings are environment variables; `killpoint`: see killpoints.py.

        Started again, it has the same settings: `router.start(**DISARMED)`.
        """
        router = self.add_router(killpoint=killpoint, command=command, **settings)
        await router.start()
        return router

    def add_router(self, *, killpoint: str = "", command: str = "serve", **settings: str) -> RouterProcess:
        """One more router, not started."""
        if killpoint:
            settings[KILLPOINT] = killpoint
        directory = self.directory / f"router-{len(self.routers)}"
        directory.mkdir()
        router = RouterProcess(self.platform, directory, arguments=command.split(), **settings)
        self.routers.append(router)
        return router

    # --- what the platform does ---

    def define_webhook(self, event_type: str = "cdr", **fields: Any) -> str:
        """A webhook of the account on the customer's server, with a secret."""
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        webhook_id = self.platform.define_webhook(
            self.account, to=self.customer.url, event_type=event_type, **{"secret": secret, **fields}
        )
        document = self.platform.database.webhooks.find_one({"_id": webhook_id})
        assert document is not None
        self.webhooks[webhook_id] = event_type
        path = "/" + document["url"].rpartition("/")[2]
        self.paths[path], self.secrets[path] = webhook_id, secret
        return webhook_id

    def make_event(self, event_type: str = "cdr", **fields: Any) -> dict[str, Any]:
        return make_event(self.account, event_type, **fields)

    async def publish(self, count: int, event_type: str = "cdr") -> list[dict[str, Any]]:
        """Publish that many events and wait for the confirms."""
        events = [self.make_event(event_type) for _ in range(count)]
        await self.platform.publish(*events)
        for event in events:
            self.confirm(event)
        return events

    def confirm(self, event: dict[str, Any]) -> None:
        """Remember that the broker has taken an event, and what has to become of it."""
        event_id = event.get("id") or id_from_body(encode(event))
        self.unconfirmed.pop(event_id, None)
        self.confirmed[event_id] = event
        self.expected.update((event_id, each) for each, kind in self.webhooks.items() if kind == event["type"])

    @asynccontextmanager
    async def stream(self, *, per_second: float = 50, event_type: str = "cdr") -> AsyncIterator[None]:
        """Publish all the while, with confirms; what is not confirmed is not repeated."""
        stopping = asyncio.Event()
        task = asyncio.create_task(self._keep_publishing(stopping, per_second, event_type), name="publisher")
        try:
            yield
        finally:
            stopping.set()
            await task

    async def _keep_publishing(self, stopping: asyncio.Event, per_second: float, event_type: str) -> None:
        while not stopping.is_set():
            with suppress(AMQPError, OSError, TimeoutError, RuntimeError):
                async with asyncio.timeout(PUBLISH_SECONDS):
                    connection = await aio_pika.connect(self.platform.amqp_url)
                try:
                    await self._publish_on(connection, stopping, per_second, event_type)
                finally:
                    async with asyncio.timeout(PUBLISH_SECONDS):
                        await connection.close()
            await asyncio.sleep(0.1)

    async def _publish_on(self, connection: Any, stopping: asyncio.Event, per_second: float, event_type: str) -> None:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        exchange = await channel.get_exchange(self.platform.exchange(event_type), ensure=False)
        while not stopping.is_set():
            event = self.make_event(event_type)
            self.unconfirmed[event["id"]] = event
            message = aio_pika.Message(
                encode(event), content_type="application/json", delivery_mode=aio_pika.DeliveryMode.PERSISTENT
            )
            async with asyncio.timeout(PUBLISH_SECONDS):
                await exchange.publish(message, f"{event_type}.created", mandatory=True)
            self.confirm(event)
            await asyncio.sleep(1 / per_second)

    async def confirmed_count(self, count: int, *, within_seconds: float = 60) -> None:
        """Wait until so many events are confirmed."""
        await wait_for(lambda: len(self.confirmed) >= count, within_seconds=within_seconds)

    async def accepted_count(self, count: int, *, within_seconds: float = 60) -> None:
        """Wait until the customer has said yes so often."""
        await wait_for(lambda: len(self.customer.accepted) >= count, within_seconds=within_seconds)

    # --- recovery ---

    def heal(self) -> None:
        """The fault is over: the time to recover begins."""
        self.healed_at = time.monotonic()

    async def until_ready(self, *routers: RouterProcess, within_seconds: float = 60) -> None:
        """Wait until the routers are ready; that, and not the last delivery, is then the time to recover."""
        for router in routers or self.routers:
            await wait_for(router.is_ready, within_seconds=within_seconds)
        self._recovered("ready")

    async def settled(self, *, within_seconds: float = SETTLE_SECONDS) -> None:
        """Wait until every expected delivery is there and none is pending."""

        def is_settled() -> bool:
            try:
                deliveries = self._deliveries()
            except PyMongoError:
                return False
            there = {(each["event_id"], each["webhook_id"]) for each in deliveries if each["status"] in TERMINAL}
            return there >= self.expected and all(each["status"] in TERMINAL for each in deliveries)

        try:
            await wait_for(is_settled, within_seconds=within_seconds)
        except AssertionError:
            raise AssertionError(self._describe()) from None
        self._recovered("last delivery")

    def _recovered(self, what: str) -> None:
        if self.healed_at is not None and self.recover_seconds is None:
            self.recovered, self.recover_seconds = what, time.monotonic() - self.healed_at

    # --- the verdict ---

    async def unrecorded(self) -> int:
        """Requests that the customer has, and that the store does not know of: what a crash now doubles at most."""
        await asyncio.sleep(ON_ITS_WAY_SECONDS)
        over = {(each["event_id"], each["webhook_id"]) for each in self._deliveries() if each["status"] in TERMINAL}
        return sum((each.header("webhook-id"), self.paths[_path(each)]) not in over for each in self.customer.requests)

    async def check(
        self,
        *,
        duplicates_allowed: int = 0,
        dead_letters: int = 0,
        statuses: Mapping[str, int] | None = None,
        within_seconds: float = SETTLE_SECONDS,
        signatures_may_be_old: bool = False,
    ) -> None:
        """Wait until all is over, stop the routers, and insist on every invariant; writes the row of the report.

        `statuses` counts the expected ends other than `delivered`.
        """
        await self.settled(within_seconds=within_seconds)
        for router in self.routers:
            if router.is_running:
                await router.stop()
        deliveries = self._deliveries()
        letters = self.platform.database.dead_letters.count_documents({})
        received = Counter(
            (each.header("webhook-id") or "", self.paths[_path(each)]) for each in self.customer.accepted
        )
        doubled = Counter({key: count - 1 for key, count in received.items() if count > 1})
        lost = self._lost(deliveries, received)
        self._write(deliveries, lost=lost, doubled=doubled, letters=letters, allowed=duplicates_allowed)

        assert lost == [], f"lost: {lost[:10]}; {self._describe()}"
        self._check_documents(deliveries)
        ends = Counter(each["status"] for each in deliveries if each["status"] != "delivered")
        assert ends == Counter(statuses or {}), self._describe()
        assert letters == dead_letters
        self._check_requests(signatures_may_be_old=signatures_may_be_old)
        assert doubled.total() <= duplicates_allowed, list(doubled)[:10]
        for router in self.routers:
            router.assert_log_is_clean()

    def _deliveries(self) -> list[dict[str, Any]]:
        return list(self.platform.database.deliveries.find({"account_id": self.account}))

    def _lost(self, deliveries: list[dict[str, Any]], received: Counter[tuple[str, str]]) -> list[tuple[str, str]]:
        """What had to be delivered, or to end visibly, and did neither."""
        by_key = {(each["event_id"], each["webhook_id"]): each for each in deliveries}

        def is_accounted_for(event_id: str, webhook_id: str) -> bool:
            found = by_key.get((event_id, webhook_id))
            if found is None or found["status"] not in TERMINAL:
                return False
            return found["status"] != "delivered" or (event_id, webhook_id) in received

        return sorted(pair for pair in self.expected if not is_accounted_for(*pair))

    def _check_documents(self, deliveries: list[dict[str, Any]]) -> None:
        """One document per event and webhook; attempts count up by one, and a success is the last."""
        keys = Counter((each["event_id"], each["webhook_id"]) for each in deliveries)
        assert max(keys.values(), default=1) == 1, [key for key, count in keys.items() if count > 1]
        known = self.confirmed.keys() | self.unconfirmed.keys()
        assert {event_id for event_id, _ in keys} <= known, "a delivery of an event that nobody published"
        for each in deliveries:
            numbers = [attempt["number"] for attempt in each["attempts"]]
            assert numbers == list(range(1, len(numbers) + 1)), (each["_id"], numbers)
            successes = [attempt["number"] for attempt in each["attempts"] if attempt["error"] is None]
            assert successes == (numbers[-1:] if each["status"] == "delivered" else []), (each["_id"], successes)

    def _check_requests(self, *, signatures_may_be_old: bool) -> None:
        """Every request carries the bytes that were published, signed."""
        published = {**self.unconfirmed, **self.confirmed}
        for request in self.customer.accepted:
            event_id = request.header("webhook-id") or ""
            assert request.body == encode(published[event_id]), event_id
            headers = {name: value for name, value in request.headers if name.lower().startswith("webhook-")}
            verifier = Verifier(self.secrets[_path(request)])
            if signatures_may_be_old:
                moment = datetime.fromtimestamp(int(request.header("webhook-timestamp") or 0), UTC)
                signature = verifier.sign(event_id, moment, request.body.decode())
                assert signature in (request.header("webhook-signature") or "").split(" ")
            else:
                verifier.verify(request.body, headers, json_parse=False)

    def _write(
        self,
        deliveries: list[dict[str, Any]],
        *,
        lost: list[tuple[str, str]],
        doubled: Counter[tuple[str, str]],
        letters: int,
        allowed: int,
    ) -> None:
        if self.rows is None:
            return
        shared: dict[str, Any] = {
            "duplicates_allowed": allowed,
            "dead_letters": letters,
            "recover_seconds": self.recover_seconds,
            "recovered": self.recovered,
        }
        whole = Row(
            number=self.fault.number,
            fault=self.fault.text,
            events=len(self.confirmed),
            deliveries=len(deliveries),
            lost=len(lost),
            duplicates=doubled.total(),
            test=self.test,
            **shared,
        )
        rows = [whole]
        if self.parts:
            rows = [self._row_of(part, deliveries, lost, doubled, shared) for part in self.parts]
        for row in rows:
            write_row(self.rows, row)

    def _row_of(
        self,
        part: Part,
        deliveries: list[dict[str, Any]],
        lost: list[tuple[str, str]],
        doubled: Counter[tuple[str, str]],
        shared: dict[str, Any],
    ) -> Row:
        kinds = {self.webhooks[each] for each in part.webhooks}
        return Row(
            number=part.fault.number,
            fault=part.fault.text,
            events=sum(event["type"] in kinds for event in self.confirmed.values()),
            deliveries=sum(each["webhook_id"] in part.webhooks for each in deliveries),
            lost=sum(webhook_id in part.webhooks for _, webhook_id in lost),
            duplicates=sum(count for (_, webhook_id), count in doubled.items() if webhook_id in part.webhooks),
            test=f"{self.test} {part.fault.number:g}",
            **shared,
        )

    def _describe(self) -> str:
        """For the text of a failure."""
        try:
            statuses = dict(Counter(each["status"] for each in self._deliveries()))
        except PyMongoError as error:
            statuses = {type(error).__name__: 0}
        logs = "\n".join(f"--- router {number}\n{each.last_words}" for number, each in enumerate(self.routers))
        return (
            f"{len(self.confirmed)} confirmed, {len(self.unconfirmed)} not, {len(self.expected)} deliveries expected, "
            f"{statuses} there, {len(self.customer.accepted)} accepted\n{logs}"
        )


def _path(request: Request) -> str:
    return request.target
