"""The list of deliveries against deliveries that were really made: every page and filter, by its own reckoning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.support.events import CALLER, make_event
from tests.support.http_server import ScriptedServer, answer
from tests.support.router_process import ADMIN_TOKEN, Platform, RouterProcess, wait_for

OTHER_CALLER = "+447700900123"
OTHER_NUMBER = "+33465710042"
OTHER_REDIRECTION = "+33639980077"
FAILS_FOR = "u-31"

Deliveries = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Made:
    """What was published, by event id, and the deliveries that came of it, newest first."""

    accounts: tuple[str, str]
    webhooks: dict[str, str]
    events: dict[str, dict[str, Any]]
    deliveries: Deliveries


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(platform: Platform, router: RouterProcess) -> Made:
    """Two accounts, a webhook for each type in each, 30 events; those of one user fail."""
    accounts = (platform.enable_account(), platform.enable_account())
    published: list[dict[str, Any]] = []
    async with ScriptedServer(
        route=lambda request: answer(404) if f'"user_id": "{FAILS_FOR}"'.encode() in request.body else answer(200)
    ) as server:
        webhooks = {
            platform.define_webhook(account, to=server.url, event_type=kind): kind
            for account in accounts
            for kind in ("call", "cdr", "user")
        }
        await router.takes_up_definitions()
        for number in range(10):
            for kind in ("call", "cdr", "user"):
                account = accounts[number % 2]
                event = make_event(account, kind)
                if number % 3 == 0:
                    event["data"]["caller"]["number"] = OTHER_CALLER
                    event["tracking_number"]["number"] = OTHER_NUMBER
                if number % 5 == 0:
                    event["data"]["redirection_number"] = OTHER_REDIRECTION
                    event["user_id"] = FAILS_FOR
                event["call_id"] = f"c-{account}-{number // 4}"
                await platform.publish(event)
                await router.event(account, event["id"])
                published.append(event)

        async def all_over() -> Deliveries | None:
            found = (await router.api("/v1/deliveries", limit=200))["items"]
            over = [delivery for delivery in found if delivery["status"] != "pending"]
            return over if len(over) == len(published) else None

        deliveries = await wait_for(all_over)
    return Made(
        accounts=accounts,
        webhooks=webhooks,
        events={event["id"]: event for event in published},
        deliveries=deliveries,  # type: ignore[arg-type]
    )


async def walk(router: RouterProcess, *, limit: int, **filters: Any) -> Deliveries:
    """Every page of a list, joined."""
    items: Deliveries = []
    cursor: dict[str, str] = {}
    while True:
        page = await router.api("/v1/deliveries", limit=limit, **filters, **cursor)
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        assert page["items"], "a cursor led to nothing"
        cursor = {"cursor": page["next_cursor"]}


async def test_list_is_newest_first_and_the_same_on_pages_of_any_size(router: RouterProcess, made: Made) -> None:
    order = [(delivery["created_at"], delivery["id"]) for delivery in made.deliveries]
    assert order == sorted(order, reverse=True)
    assert {delivery["event_id"] for delivery in made.deliveries} == made.events.keys()
    for limit in (1, 7, 30, 200):
        walked = await walk(router, limit=limit)
        assert [delivery for delivery in walked if delivery["event_id"] in made.events] == made.deliveries


async def test_what_comes_later_moves_no_page(platform: Platform, router: RouterProcess, made: Made) -> None:
    first = await router.api("/v1/deliveries", limit=10, account_id=made.accounts[0])
    async with ScriptedServer() as server:
        account = platform.enable_account()
        platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        event = make_event(account)
        await platform.publish(event)
        await router.delivery(event_id=event["id"])
    second = await router.api("/v1/deliveries", limit=200, account_id=made.accounts[0], cursor=first["next_cursor"])

    mine = [delivery for delivery in made.deliveries if delivery["account_id"] == made.accounts[0]]
    assert first["items"] + second["items"] == mine


# --- filters ---------------------------------------------------------------------------------------

Predicate = Callable[[Made, dict[str, Any]], bool]
"""Whether a delivery should be found, by what was published."""


def event_of(made: Made, delivery: dict[str, Any]) -> dict[str, Any]:
    return made.events[delivery["event_id"]]


def has_number(*numbers: str) -> Predicate:
    def predicate(made: Made, delivery: dict[str, Any]) -> bool:
        event = event_of(made, delivery)
        data = event["data"]
        found = {data["caller"]["number"], data["redirection_number"], event["tracking_number"]["number"]}
        return bool(found & set(numbers))

    return predicate


FILTERS: dict[str, tuple[Callable[[Made], dict[str, Any]], Predicate]] = {
    "account_id": (
        lambda made: {"account_id": made.accounts[1]},
        lambda made, delivery: bool(event_of(made, delivery)["account_id"] == made.accounts[1]),
    ),
    "webhook_id": (
        lambda made: {"webhook_id": next(iter(made.webhooks))},
        lambda made, delivery: bool(
            event_of(made, delivery)["account_id"] == made.accounts[0] and event_of(made, delivery)["type"] == "call"
        ),
    ),
    "event_type": (
        lambda _: {"event_type": "user"},
        lambda made, delivery: bool(event_of(made, delivery)["type"] == "user"),
    ),
    "status delivered": (
        lambda _: {"status": "delivered"},
        lambda made, delivery: bool(event_of(made, delivery)["user_id"] != FAILS_FOR),
    ),
    "status failed": (
        lambda _: {"status": "failed"},
        lambda made, delivery: bool(event_of(made, delivery)["user_id"] == FAILS_FOR),
    ),
    "status pending": (lambda _: {"status": "pending"}, lambda *_: False),
    "event_id": (
        lambda made: {"event_id": list(made.events)[4]},
        lambda made, delivery: bool(delivery["event_id"] == list(made.events)[4]),
    ),
    "call_id": (
        lambda made: {"call_id": f"c-{made.accounts[0]}-1"},
        lambda made, delivery: bool(event_of(made, delivery)["call_id"] == f"c-{made.accounts[0]}-1"),
    ),
    "user_id": (
        lambda _: {"user_id": FAILS_FOR},
        lambda made, delivery: bool(event_of(made, delivery)["user_id"] == FAILS_FOR),
    ),
    "caller": (lambda _: {"number": CALLER}, has_number(CALLER)),
    "caller as dialled": (lambda _: {"number": "06 39 98 11 22"}, has_number(CALLER)),
    "caller abroad": (lambda _: {"number": "0044 7700 900123"}, has_number(OTHER_CALLER)),
    "tracking number": (lambda _: {"number": "04.65.71.00.42"}, has_number(OTHER_NUMBER)),
    "redirection": (lambda _: {"number": OTHER_REDIRECTION}, has_number(OTHER_REDIRECTION)),
    "last four digits": (lambda _: {"number": "1122"}, has_number(CALLER)),
    "last digits of two": (lambda _: {"number": "0123"}, has_number(OTHER_CALLER)),
    "no such number": (lambda _: {"number": "9999"}, lambda *_: False),
    "two at once": (
        lambda made: {"account_id": made.accounts[0], "event_type": "cdr"},
        lambda made, delivery: bool(
            event_of(made, delivery)["account_id"] == made.accounts[0] and event_of(made, delivery)["type"] == "cdr"
        ),
    ),
    "all at once": (
        lambda made: {
            "account_id": made.accounts[0],
            "webhook_id": next(iter(made.webhooks)),
            "event_type": "call",
            "status": "delivered",
            "call_id": f"c-{made.accounts[0]}-0",
            "number": "1122",
            "from_": made.deliveries[-1]["created_at"],
        },
        lambda made, delivery: bool(
            event_of(made, delivery)["call_id"] == f"c-{made.accounts[0]}-0"
            and event_of(made, delivery)["type"] == "call"
            and event_of(made, delivery)["user_id"] != FAILS_FOR
            and event_of(made, delivery)["data"]["caller"]["number"] == CALLER
        ),
    ),
}


@pytest.mark.parametrize("name", FILTERS)
async def test_filter_finds_what_it_should_and_counts_it(name: str, router: RouterProcess, made: Made) -> None:
    filters, predicate = FILTERS[name]
    expected = [delivery["id"] for delivery in made.deliveries if predicate(made, delivery)]
    chosen = filters(made)

    found = await walk(router, limit=4, **chosen)
    page = await router.api("/v1/deliveries", limit=1, include_total=True, **chosen)

    # One that another test made may have come on top.
    assert [delivery["id"] for delivery in found if delivery["event_id"] in made.events] == expected
    assert page["total"] == len(found)


async def test_total_counts_all_matches_and_not_the_page(router: RouterProcess, made: Made) -> None:
    account = made.accounts[0]
    page = await router.api("/v1/deliveries", account_id=account, limit=2, include_total=True)

    assert len(page["items"]) == 2
    assert page["total"] == sum(delivery["account_id"] == account for delivery in made.deliveries)
    assert "total" not in await router.api("/v1/deliveries", account_id=account, limit=2)


async def test_from_is_inclusive_and_to_exclusive(router: RouterProcess, made: Made) -> None:
    first, last = made.deliveries[20]["created_at"], made.deliveries[5]["created_at"]
    expected = [delivery for delivery in made.deliveries if first <= delivery["created_at"] < last]

    assert await walk(router, limit=3, from_=first, to=last) == expected
    assert made.deliveries[20] in expected
    assert made.deliveries[5] not in expected


async def test_a_list_shows_a_delivery_without_its_payload_and_its_page_with_it(
    router: RouterProcess, made: Made
) -> None:
    listed = made.deliveries[0]
    whole = await router.api(f"/v1/deliveries/{listed['id']}")

    assert "payload" not in listed
    assert whole == {**listed, "payload": whole["payload"]}
    assert listed["event_id"] in whole["payload"]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("colour", "red"),
        ("limit", "0"),
        ("limit", "201"),
        ("limit", "many"),
        ("status", "lost"),
        ("event_type", "sms"),
        ("from", "yesterday"),
        ("to", "2025-03-11"),
        ("number", "12"),
        ("cursor", "AAAA"),
        ("include_total", "perhaps"),
    ],
)
async def test_what_is_wrong_is_named(parameter: str, value: str, router: RouterProcess) -> None:
    status, problem = await router.get("/v1/deliveries", **{parameter: value})

    assert status == 400
    assert problem["status"] == 400
    assert parameter in problem["detail"]


async def test_nobody_gets_in_without_the_token(router: RouterProcess, made: Made) -> None:
    for path in ("/v1/deliveries", f"/v1/deliveries/{made.deliveries[0]['id']}", "/v1/dead-letters"):
        for token in ("", "wrong", ADMIN_TOKEN + "x", ADMIN_TOKEN[:-1]):
            status, problem = await router.get(path, token=token)
            assert (status, problem["status"]) == (401, 401)
