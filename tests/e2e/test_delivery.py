"""One event, one webhook: what the customer's server receives, to the byte, and what the log of deliveries says."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from datetime import datetime
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from router import __version__
from tests.support.amqp import publish_raw
from tests.support.events import encode, make_event, without
from tests.support.http_server import Request, ScriptedServer, answer
from tests.support.router_process import Platform, RouterProcess

SECRET = "whsec_" + b64encode(b"0123456789abcdef0123456789abcdef").decode()
OLD_SECRET = "whsec_" + b64encode(b"fedcba9876543210fedcba9876543210").decode()


async def delivered(
    platform: Platform, router: RouterProcess, server: ScriptedServer, body: bytes | dict[str, Any], **properties: Any
) -> Request:
    """The one request that an event leads to."""
    await router.takes_up_definitions()
    await platform.publish(body, **properties)
    (request,) = await server.received(1)
    return request


# --- success ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_success_at_once(status: int, platform: Platform, router: RouterProcess, account: str) -> None:
    reply = b"" if status == 204 else b"thank you"
    async with ScriptedServer(answer(status, reply, {} if reply else {"content-length": "0"})) as server:
        webhook_id = platform.define_webhook(account, to=server.url)
        event = make_event(account)
        await delivered(platform, router, server, event)

        delivery = await router.delivery(event_id=event["id"])

    assert delivery["status"] == "delivered"
    assert delivery["reason"] is None
    assert delivery["webhook_id"] == webhook_id
    assert delivery["attempt_count"] == 1
    assert delivery["next_attempt_at"] is None
    assert datetime.fromisoformat(delivery["created_at"]) <= datetime.fromisoformat(delivery["completed_at"])
    (attempt,) = delivery["attempts"]
    assert (attempt["number"], attempt["trigger"], attempt["status_code"], attempt["error"]) == (
        *(1, "schedule"),
        *(status, None),
    )
    assert attempt["response_body"] == reply.decode()
    assert not attempt["response_truncated"]
    assert attempt["duration_ms"] > 0
    assert len(server.requests) == 1


@pytest.mark.parametrize("event_type", ["call", "cdr", "user"])
async def test_each_type_of_event_is_delivered_and_described(
    event_type: str, platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    webhook_id = platform.define_webhook(account, to=server.url, event_type=event_type)
    event = make_event(account, event_type)
    request = await delivered(platform, router, server, event)

    delivery = await router.delivery(event_id=event["id"])

    assert request.header("x-webhook-event") == event_type
    assert request.header("x-webhook-delivery") == delivery["id"]
    assert delivery["payload"].encode() == request.body == encode(event)
    assert {key: delivery[key] for key in ("account_id", "webhook_id", "event_id", "event_type", "event_name")} == {
        "account_id": account,
        "webhook_id": webhook_id,
        "event_id": event["id"],
        "event_type": event_type,
        "event_name": event["name"],
    }
    assert delivery["call_id"] == event["call_id"]
    assert delivery["user_id"] == event["user_id"]
    assert delivery["url"].startswith(server.url + "/hook-path-")


async def test_an_event_goes_to_every_webhook_that_matches(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    webhooks = {platform.define_webhook(account, to=server.url) for _ in range(3)}
    await router.takes_up_definitions()
    event = make_event(account)
    await platform.publish(event)
    requests = await server.received(3)

    assert len({request.target for request in requests}) == 3
    assert len({request.header("x-webhook-delivery") for request in requests}) == 3
    assert {request.header("webhook-id") for request in requests} == {event["id"]}
    assert {line["webhook_id"] for line in (await router.event(account, event["id"]))["trace"]} == webhooks


async def test_a_long_answer_is_kept_to_its_first_2_kib(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    async with ScriptedServer(answer(200, b"a" * 5000)) as server:
        platform.define_webhook(account, to=server.url)
        event = make_event(account)
        await delivered(platform, router, server, event)
        (attempt,) = (await router.delivery(event_id=event["id"]))["attempts"]

    assert attempt["response_body"] == "a" * 2048
    assert attempt["response_truncated"]


# --- the request -----------------------------------------------------------------------------------


async def test_request_has_the_headers_of_the_contract_and_no_others(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url, secret=SECRET)
    event = make_event(account)
    request = await delivered(platform, router, server, event)
    delivery = await router.delivery(event_id=event["id"])

    assert (request.method, request.version) == ("POST", "HTTP/1.1")
    assert f"{server.url}{request.target}" == delivery["url"]
    headers = {name.lower(): value for name, value in request.headers}
    assert len(headers) == len(request.headers)
    timestamp, signature = int(headers.pop("webhook-timestamp")), headers.pop("webhook-signature")
    assert headers == {
        "host": server.url.removeprefix("http://"),
        "content-length": str(len(request.body)),
        "content-type": "application/json",
        "user-agent": f"webhook-router/{__version__}",
        "webhook-id": event["id"],
        "x-webhook-event": "cdr",
        "x-webhook-delivery": delivery["id"],
        "x-webhook-attempt": "1",
    }
    assert re.fullmatch(r"v1,[A-Za-z0-9+/]{43}=", signature)
    started_at = datetime.fromisoformat(delivery["attempts"][0]["started_at"]).timestamp()
    assert abs(timestamp - started_at) < 60


async def test_own_headers_of_a_webhook_are_sent(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    key = "k3y-of-the-customers-crm"
    platform.private.add(key)
    platform.define_webhook(account, to=server.url, headers={"X-Api-Key": key})
    request = await delivered(platform, router, server, make_event(account))

    assert request.header("x-api-key") == key


async def test_query_of_a_url_is_sent_as_it_is_written(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    url = platform.hook_url(server.url) + "/%C3%A9t%c3%a9;v=1?token=a%2Fb+c&empty=&x=%20"
    platform.define_webhook(account, to=server.url, url=url)
    request = await delivered(platform, router, server, make_event(account))

    assert server.url + request.target == url


# --- the signature ---------------------------------------------------------------------------------


def lower(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers}


async def test_signature_is_accepted_by_an_independent_verifier(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url, secret=SECRET)
    event = make_event(account)
    request = await delivered(platform, router, server, event)

    assert Verifier(SECRET).verify(request.body, lower(request)) == event


async def test_both_secrets_sign_during_a_rotation(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url, secret=[SECRET, OLD_SECRET])
    request = await delivered(platform, router, server, make_event(account))

    assert len((request.header("webhook-signature") or "").split(" ")) == 2
    Verifier(SECRET).verify(request.body, lower(request))
    Verifier(OLD_SECRET).verify(request.body, lower(request))


async def test_signature_is_absent_without_a_secret(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url)
    request = await delivered(platform, router, server, make_event(account))

    assert request.header("webhook-signature") is None


async def test_signature_holds_for_an_id_that_is_replaced(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url, secret=SECRET)
    request = await delivered(platform, router, server, make_event(account, id="événement-1"))

    Verifier(SECRET).verify(request.body, lower(request))


# --- the body, byte for byte -----------------------------------------------------------------------

BODIES = {
    "big integers": b'"n":9223372036854775808,"m":-18446744073709551617,"many":%s' % (b"9" * 400),
    "numbers as written": b'"a":1e3,"b":1.0,"c":-0,"d":1E+2,"e":0.1000000000000000055511151231257827',
    "a number beyond a double": b'"a":1e400',
    "accents, raw and escaped": '"a":"Élodie – ✓ 📞","b":"\\u00c9lodie \\ud83d\\udcde"'.encode(),
    "a lone surrogate": b'"a":"\\ud800"',
    "an escaped NUL": b'"a":"\\u0000"',
    "dotted and dollar keys": b'"a.b":{"$set":{"x.y":1}},"$where":"1","":0,"__proto__":{"a":1}',
    "order and spaces": b'"z":1 ,  "a" :\t[ 1,2 , 3 ]\r\n,\n"m":{ }',
    "a key twice": b'"a":1,"a":2',
    "escaped slashes": b'"a":"http:\\/\\/x"',
}


@pytest.mark.parametrize("name", BODIES)
async def test_body_arrives_byte_for_byte(
    name: str, platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url)
    event_id = f"evt_{account}"
    body = b' \n{ %s,  "id":"%s", "account_id" : "%s","type":"cdr"}\n ' % (
        BODIES[name],
        event_id.encode(),
        account.encode(),
    )
    request = await delivered(platform, router, server, body)

    assert request.body == body
    assert (await router.delivery(event_id=event_id))["payload"].encode() == body
    assert (await router.event(account, event_id))["payload"].encode() == body


async def test_a_payload_of_half_a_megabyte_arrives_whole(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url)
    event = make_event(account, data={"transcript": "é" * 250_000})
    request = await delivered(platform, router, server, event)

    assert request.body == encode(event)


# --- the identity ----------------------------------------------------------------------------------


def replaced(event_id: str) -> str:
    return "evt_" + hashlib.sha256(event_id.encode()).hexdigest()[:32]


@pytest.mark.parametrize(
    ("suffix", "is_kept"),
    [
        pytest.param("x" * 200, True, id="long but not too long"),
        pytest.param("x" * 300, False, id="over 255 characters"),
        pytest.param("é", False, id="no ASCII"),
        pytest.param("\x07", False, id="a control character"),
        pytest.param("\r\nx-injected: 1", False, id="a forged header"),
        pytest.param(" with blanks, and:signs", True, id="printable"),
    ],
)
async def test_webhook_id_is_the_event_id_or_a_hash_of_it(
    suffix: str, is_kept: bool, platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url)
    event_id = account + suffix
    request = await delivered(platform, router, server, make_event(account, id=event_id))

    assert request.header("webhook-id") == (event_id if is_kept else replaced(event_id))
    assert request.header("x-injected") is None
    assert (await router.delivery(account_id=account))["event_id"] == event_id


async def test_an_event_without_id_gets_one_from_its_body(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url)
    await router.takes_up_definitions()
    body = encode(without(make_event(account), "id"))
    other = encode(without(make_event(account), "id"))
    for each in (body, body, other, body):
        await publish_raw(platform.amqp_url, platform.exchange("cdr"), "cdr.created", each)
    requests = await server.received(2)

    assert sorted(request.body for request in requests) == sorted([body, other])
    ids = {request.body: request.header("webhook-id") for request in requests}
    assert len(set(ids.values())) == 2
    assert all(re.fullmatch(r"evt_[0-9a-f]{32}", text or "") for text in ids.values())
    assert len(await router.deliveries(account_id=account)) == 2


async def test_amqp_properties_are_used_where_the_body_lacks_them(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url, event_type="user")
    body = encode(without(make_event(account), "id", "type", "occurred_at"))
    # By the exchange of another type: the property says what it is.
    request = await delivered(
        *(platform, router, server, body),
        to="cdr",
        message_id=f"msg-{account}",
        type="user",
        timestamp=datetime.fromisoformat("2025-03-11T09:14:07+00:00"),
    )

    assert request.header("webhook-id") == f"msg-{account}"
    assert request.header("x-webhook-event") == "user"
    event = await router.event(account, f"msg-{account}")
    assert event["type"] == "user"
    assert event["occurred_at"] == "2025-03-11T09:14:07.000Z"


async def test_the_body_goes_before_the_properties(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url)
    event = make_event(account)
    request = await delivered(platform, router, server, event, message_id="other", type="call")

    assert request.header("webhook-id") == event["id"]
    assert request.header("x-webhook-event") == "cdr"


async def test_an_event_that_names_no_type_has_that_of_its_source(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url, event_type="call")
    event = make_event(account, "call")
    request = await delivered(platform, router, server, encode(without(event, "type")), to="call")

    assert request.header("x-webhook-event") == "call"


async def test_the_same_event_twice_is_delivered_once(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url)
    event, last = make_event(account), make_event(account)
    await delivered(platform, router, server, event)
    await router.delivery(event_id=event["id"])

    await platform.publish(event)
    await platform.publish(last)
    requests = await server.received(2)

    assert [request.header("webhook-id") for request in requests] == [event["id"], last["id"]]
    assert len(await router.deliveries(event_id=event["id"])) == 1


async def test_the_same_id_in_two_accounts_is_two_events(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    other = platform.enable_account()
    for each in (account, other):
        platform.define_webhook(each, to=server.url)
    await router.takes_up_definitions()
    event = make_event(account)
    await platform.publish(event, {**event, "account_id": other})
    requests = await server.received(2)

    assert {request.header("webhook-id") for request in requests} == {event["id"]}
    assert {delivery["account_id"] for delivery in await router.deliveries(event_id=event["id"])} == {account, other}


async def test_an_account_id_that_is_an_integer_is_its_decimal_text(
    platform: Platform, router: RouterProcess, server: ScriptedServer
) -> None:
    number = 2**64 + 1042
    account = platform.enable_account(str(number))
    platform.define_webhook(account, to=server.url)
    request = await delivered(platform, router, server, make_event(number))

    assert f'"account_id": {number}'.encode() in request.body
    (delivery,) = await router.deliveries(account_id=account)
    assert delivery["account_id"] == str(number)
