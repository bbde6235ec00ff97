"""What the API refuses and how it says so: tokens, paths, methods, parameters, and a store that is away."""

from __future__ import annotations

from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from router.adapters.mongo.driver import Database
from tests.support.api import TOKEN, Api, Surroundings, assert_names, assert_problem
from tests.support.stored import StoredThings

READS = [
    "/v1/webhooks",
    "/v1/webhooks/wh_1",
    "/v1/deliveries",
    "/v1/deliveries/dlv_1",
    "/v1/events/evt-1?account_id=1042",
    "/v1/calls/call-1?account_id=1042",
    "/v1/accounts/1042",
    "/v1/dead-letters",
    "/v1/dead-letters/dl_1",
]

# --- who may ask -----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", READS)
@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong-token"}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": "Bearer"}],
)
async def test_nobody_reads_without_the_token(api: Api, target: str, headers: dict[str, str]) -> None:
    answer = await api.request("GET", target, headers=headers)

    assert_problem(answer, 401, "unauthorized")
    wrong = headers.get("Authorization") == "Bearer wrong-token"
    assert answer.headers["WWW-Authenticate"] == ('Bearer error="invalid_token"' if wrong else "Bearer")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", "/v1/accounts/1042"),
        ("POST", "/v1/webhooks"),
        ("PATCH", "/v1/webhooks/wh_1"),
        ("DELETE", "/v1/webhooks/wh_1"),
        ("POST", "/v1/webhooks/wh_1/resume"),
        ("POST", "/v1/dead-letters/dl_1/requeue"),
        ("GET", "//v1/webhooks"),
        ("GET", "/%761/webhooks"),
        ("GET", "/v1/../v1/webhooks"),
    ],
)
async def test_no_other_way_leads_around_the_token(api: Api, method: str, target: str) -> None:
    assert (await api.request(method, target, headers={})).status in (401, 404)


async def test_scheme_of_the_token_may_be_written_in_any_case(api: Api) -> None:
    assert (await api.request("GET", "/v1/webhooks", headers={"Authorization": f"bearer {TOKEN}"})).status == 200


async def test_api_without_a_token_lets_nobody_in(surroundings: Surroundings) -> None:
    surroundings.token = None
    async with surroundings.serving() as api:
        for target in READS:
            for token in ("", "None", TOKEN):
                answer = await api.request("GET", target, headers={"Authorization": f"Bearer {token}"})
                assert_problem(answer, 401, "unauthorized")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/openapi.json", "/metrics"])
async def test_operations_need_no_token(api: Api, path: str) -> None:
    assert (await api.request("GET", path, headers={})).status == 200


# --- what every answer has -------------------------------------------------------------------------


@pytest.mark.parametrize("target", [*READS, "/livez", "/metrics", "/openapi.json", "/nothing"])
async def test_every_answer_is_neither_stored_nor_sniffed_and_names_no_version(api: Api, target: str) -> None:
    headers = (await api.request("GET", target)).headers

    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Server"] == "webhook-router"


@pytest.mark.parametrize("target", ["/v1", "/v1/", "/v1/nothing", "/v1/webhooks/", "/v1/webhooks/a/b", "/v2/webhooks"])
async def test_unknown_path_is_a_404(api: Api, target: str) -> None:
    assert_problem(await api.request("GET", target), 404, "not-found")


@pytest.mark.parametrize("target", [target for target in READS if "_1" in target or "-1" in target])
async def test_unknown_id_is_a_404(api: Api, target: str) -> None:
    assert_problem(await api.request("GET", target), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("POST", "/v1/deliveries", "GET, HEAD"),
        ("DELETE", "/v1/deliveries/dlv_1", "GET, HEAD"),
        ("PUT", "/v1/webhooks", "GET, HEAD, POST"),
        ("POST", "/v1/accounts/1042", "GET, HEAD, PUT"),
        ("GET", "/v1/webhooks/wh_1/resume", "POST"),
        ("POST", "/openapi.json", "GET, HEAD"),
    ],
)
async def test_wrong_method_is_a_405_that_says_what_is_allowed(
    api: Api, method: str, target: str, allowed: str
) -> None:
    answer = await api.request(method, target)

    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["Allow"] == allowed


async def test_head_is_get_without_the_body(api: Api) -> None:
    get, head = await api.request("GET", "/v1/webhooks"), await api.request("HEAD", "/v1/webhooks")

    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


async def test_options_says_what_is_allowed_and_lets_no_other_origin_in(api: Api) -> None:
    answer = await api.request("OPTIONS", "/v1/webhooks", headers={"Origin": "https://evil.example"})

    assert (answer.status, answer.headers["Allow"]) == (204, "GET, HEAD, POST")
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_store_that_is_away_is_a_503_that_names_no_address() -> None:
    client: Any = AsyncIOMotorClient("mongodb://user:s3cret@127.0.0.1:1", serverSelectionTimeoutMS=50)
    async with Surroundings(database=Database(client, "nowhere")).serving() as api:
        answers = [await api.request("GET", target) for target in READS]
    client.close()

    for answer in answers:
        assert_problem(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert b"127.0.0.1" not in answer.body
        assert b"s3cret" not in answer.body


async def test_fault_of_ours_is_a_500_that_tells_nothing(api: Api, stored: StoredThings) -> None:
    stored.database["deliveries"].insert_one({"_id": "dlv_broken", "event": "secret-key"})

    answer = await api.get("/v1/deliveries/dlv_broken")

    assert_problem(answer, 500, "internal")
    assert b"KeyError" not in answer.body
    assert b"Traceback" not in answer.body


# --- query strings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "field_name"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=1.0", "limit"),
        ("limit=%2B5", "limit"),
        ("limit=", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=%D9%A5", "limit"),  # an Arabic digit
        ("limit=5&limit=5", "limit"),
        ("include_total=1", "include_total"),
        ("include_total=True", "include_total"),
        ("include_total", "include_total"),
        ("cursor=", "cursor"),
        ("cursor=nonsense", "cursor"),
        ("page=2", "page"),
        ("$where=1", "$where"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/webhooks", "/v1/deliveries", "/v1/dead-letters"])
async def test_wrong_parameter_of_a_list_is_a_400_that_names_it(
    api: Api, path: str, query: str, field_name: str
) -> None:
    assert_names(await api.request("GET", f"{path}?{query}"), field_name)


@pytest.mark.parametrize(
    ("query", "field_name"),
    [
        ("account_id=", "account_id"),
        ("account_id=1&account_id=2", "account_id"),
        ("account_id[$ne]=1", "account_id[$ne]"),
        ("event_type=CALL", "event_type"),
        ("event_type=sms", "event_type"),
        ("status=done", "status"),
        ("status=", "status"),
        ("number=123", "number"),
        ("number=none", "number"),
        ("number=12345x", "number"),
        ("from=2026-03-01", "from"),
        ("from=2026-03-01T12:00:00", "from"),
        ("from=2026-03-01T12:00:00+01:00", "from"),  # a plus that is not escaped is a blank
        ("from=2026-02-30T12:00:00Z", "from"),
        ("from=2026-03-01T25:00:00Z", "from"),
        ("from=1772366400", "from"),
        ("from=yesterday", "from"),
        ("from=0001-01-01T00:00:00%2B14:00", "from"),
        ("to=9999-12-31T23:59:59.9999Z", "to"),
        ("to=2026-W10-1T12:00:00Z", "to"),
        ("from_=2026-03-01T12:00:00Z", "from_"),
        ("from=2026-03-01T12:00:00Z&to=2026-03-01T12:00:00Z", "from"),
        ("from=2026-03-01T12:00:00Z&to=2026-03-01T12:30:00%2B01:00", "from"),
    ],
)
async def test_wrong_filter_of_deliveries_is_a_400_that_names_it(api: Api, query: str, field_name: str) -> None:
    assert_names(await api.request("GET", f"/v1/deliveries?{query}"), field_name)


@pytest.mark.parametrize(
    ("target", "field_name"),
    [
        ("/v1/webhooks?status=failed", "status"),
        ("/v1/webhooks?state=broken", "state"),
        ("/v1/webhooks/wh_1?verbose=1", "verbose"),
        ("/v1/deliveries/dlv_1?account_id=1042", "account_id"),
        ("/v1/events/evt-1", "account_id"),
        ("/v1/events/evt-1?account_id=", "account_id"),
        ("/v1/calls/call-1", "account_id"),
        ("/v1/accounts/1042?x=", "x"),
        ("/v1/dead-letters?from=2026-03-01T12:00:00Z", "from"),
    ],
)
async def test_parameter_that_does_not_belong_is_a_400_that_names_it(api: Api, target: str, field_name: str) -> None:
    assert_names(await api.request("GET", target), field_name)


async def test_every_wrong_parameter_is_named(api: Api) -> None:
    answer = await api.request("GET", "/v1/deliveries?limit=0&status=x&colour=red")

    assert_names(answer, "limit", "status", "colour")
