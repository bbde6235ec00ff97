"""What strangers may write into a request: every answer is a problem that names the field, and none is our fault.

The corpus holds what has broken other programs: operators of MongoDB, NUL, half surrogate pairs, lengths, depths,
repetitions, integers without end, and bytes that are no HTTP.
"""

from __future__ import annotations

import gzip
import json
from itertools import product
from typing import Any
from urllib.parse import quote

import pytest

from router.domain.event import MAX_ID_LENGTH
from router.web.app import MAX_BODY_BYTES
from router.web.problems import MAX_FIELD_ERRORS
from tests.support import samples
from tests.support.api import Answer, Api, assert_names, assert_problem
from tests.support.raw_http import raw_request
from tests.support.stored import StoredThings

JSON = b"Content-Type: application/json"
GOOD: dict[str, Any] = {
    "account_id": "1042",
    "name": "CRM",
    "url": "https://crm.example.com/hooks",
    "event_type": "call",
}

# --- query strings and paths -----------------------------------------------------------------------

TEXTS = {
    "/v1/webhooks?account_id={}": "account_id",
    "/v1/deliveries?account_id={}": "account_id",
    "/v1/deliveries?webhook_id={}": "webhook_id",
    "/v1/deliveries?event_id={}": "event_id",
    "/v1/deliveries?call_id={}": "call_id",
    "/v1/deliveries?user_id={}": "user_id",
    "/v1/events/evt-1?account_id={}": "account_id",
    "/v1/calls/call-1?account_id={}": "account_id",
    "/v1/webhooks/{}": "id",
    "/v1/deliveries/{}": "id",
    "/v1/events/{}?account_id=1042": "id",
    "/v1/calls/{}?account_id=1042": "call_id",
    "/v1/accounts/{}": "id",
    "/v1/dead-letters/{}": "id",
}
VALUES = {
    "/v1/deliveries?number={}": "number",
    "/v1/deliveries?from={}": "from",
    "/v1/deliveries?to={}": "to",
    "/v1/deliveries?status={}": "status",
    "/v1/deliveries?event_type={}": "event_type",
    "/v1/deliveries?limit={}": "limit",
    "/v1/deliveries?cursor={}": "cursor",
    "/v1/deliveries?include_total={}": "include_total",
    "/v1/webhooks?state={}": "state",
    "/v1/dead-letters?cursor={}": "cursor",
}
OPERATORS = ['{"$ne":null}', '{"$gt":""}', "$where", "[$ne]", "a.b", "$", "';return true;//", ".*", "(a+)+$", "ﷺ", "٣"]
UNFIT = ["%00", "a%00b", "%0A", "%0d%0aX:y", "%7F", "a" * (MAX_ID_LENGTH + 1)]


async def test_text_that_nobody_could_mean_is_named(api: Api) -> None:
    for target, text in product(TEXTS, UNFIT):
        assert_names(await raw_request(api.base, b"GET", target.format(text).encode()), TEXTS[target])


async def test_operators_are_text_like_any_other(api: Api, stored: StoredThings) -> None:
    event = samples.event(matched=["wh_crm"], call_id="call-1", user_id="u-17")
    stored.add_webhook(samples.webhook())
    stored.add_event(event)
    stored.add_delivery(samples.delivery(event), event.key)

    for target, text in product(TEXTS, OPERATORS):
        answer = await api.request("GET", target.format(quote(text, safe="")))
        assert answer.status == 404 or answer.json.get("items", []) == [], (text, answer)


async def test_a_value_of_another_kind_is_named(api: Api) -> None:
    for target, text in product(VALUES, [*OPERATORS, "-1", "1e3", "9" * 5_000, "true ", "NaN", "null", "[]"]):
        assert_names(await api.request("GET", target.format(quote(text, safe=""))), VALUES[target])


@pytest.mark.parametrize(
    "name", ["account_id[$ne]", "account_id[]", "$where", "number.$gt", "__proto__", "limit%00", "é"]
)
async def test_an_unknown_parameter_is_named(api: Api, name: str) -> None:
    answer = await api.request("GET", f"/v1/deliveries?{quote(name, safe='%')}=1")

    assert_problem(answer, 400, "invalid-request")
    assert answer.json["errors"] == [{"field": name.replace("%00", "\0"), "message": "is no parameter of this request"}]


async def test_a_parameter_that_comes_twice_is_named(api: Api) -> None:
    assert_names(
        await api.request("GET", "/v1/deliveries?limit=1&account_id=1&limit=1&account_id=2"), "account_id", "limit"
    )


@pytest.mark.parametrize("raw", [b"\xff", b"\xed\xa0\x80", b"a b", b"\x00", b"\x0b"])
@pytest.mark.parametrize("target", [b"/v1/deliveries?number=+33639981122%s", b"/v1/webhooks/%s"])
async def test_bytes_that_are_no_request_get_a_problem_and_are_not_quoted(
    api: Api, target: bytes, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await raw_request(api.base, b"GET", target % raw)

    assert_problem(answer, 400, "invalid-request")
    assert answer.headers["Cache-Control"] == "no-store"
    assert b"33639981122" not in answer.body
    assert "33639981122" not in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        [b"X-Long: " + b"a" * 9_000],
        [b"Bad Name: 1"],
        [b": 1"],
        [b"X: a\x00b"],
        [b"Content-Length: 1", b"Content-Length: 2"],
        [b"Content-Length: -1"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 3"],
        [b"Host: other.example"],
    ],
)
async def test_a_head_that_cannot_be_read_is_a_problem(api: Api, headers: list[bytes]) -> None:
    assert_problem(await raw_request(api.base, b"POST", b"/v1/webhooks", *headers), 400, "invalid-request")


async def test_a_target_without_end_is_a_problem(api: Api) -> None:
    assert_problem(await raw_request(api.base, b"GET", b"/v1/webhooks/" + b"a" * 9_000), 400, "invalid-request")


# --- bodies ----------------------------------------------------------------------------------------


async def post(api: Api, body: bytes, *headers: bytes, target: bytes = b"/v1/webhooks") -> Answer:
    return await raw_request(api.base, b"POST", target, *(headers or (JSON,)), body=body)


def with_member(text: str) -> bytes:
    """A good body with one member more, as text."""
    return f"{json.dumps(GOOD)[:-1]}, {text}}}".encode()


OBJECT: Any = {"$ne": None}


WRONG: list[tuple[dict[str, Any], str]] = [
    *(({name: value}, name) for name in GOOD for value in (OBJECT, [], ["call"], 5, None, True, "", "\0", "a\nb")),
    ({"account_id": "a" * (MAX_ID_LENGTH + 1)}, "account_id"),
    ({"name": "a" * 201}, "name"),
    ({"url": "https://crm.example.com/" + "a" * 5_000}, "url"),
    ({"enabled": OBJECT}, "enabled"),
    ({"enabled": "true"}, "enabled"),
    ({"enabled": 1}, "enabled"),
    ({"restrict_to": {"$where": "sleep(1)"}}, "restrict_to"),
    ({"restrict_to": []}, "restrict_to"),
    ({"restrict_to": "u-17"}, "restrict_to"),
    ({"restrict_to": {"tracking_numbers": OBJECT}}, "restrict_to.tracking_numbers"),
    ({"restrict_to": {"tracking_numbers": []}}, "restrict_to.tracking_numbers"),
    ({"restrict_to": {"tracking_numbers": ["+33199001234"] * 10_001}}, "restrict_to.tracking_numbers"),
    ({"restrict_to": {"tracking_numbers": [OBJECT]}}, "restrict_to.tracking_numbers[0]"),
    ({"restrict_to": {"tracking_numbers": [[]]}}, "restrict_to.tracking_numbers[0]"),
    ({"restrict_to": {"tracking_numbers": ["+33199001234", 10**4_000]}}, "restrict_to.tracking_numbers[1]"),
    ({"restrict_to": {"tracking_numbers": ["1" * 5_000]}}, "restrict_to.tracking_numbers[0]"),
    ({"event_type": "user", "restrict_to": {"user_id": OBJECT}}, "restrict_to.user_id"),
    ({"event_type": "user", "restrict_to": {"user_id": ["u"]}}, "restrict_to.user_id"),
    ({"event_type": "user", "restrict_to": {"user_id": "a\0"}}, "restrict_to.user_id"),
    ({"event_type": "user", "restrict_to": {"user_id": "a" * (MAX_ID_LENGTH + 1)}}, "restrict_to.user_id"),
    ({"headers": {"x-a": OBJECT}}, "headers.x-a"),
    ({"headers": [["x-a", "1"]]}, "headers"),
    ({"headers": {"x-a": "a" * 5_000}}, "headers"),
    ({"headers": {"x-a": "a\r\nb"}}, "headers"),
    ({"headers": {"x-a": "a\0b"}}, "headers"),
    ({"headers": {"": "a"}}, "headers"),
    ({"headers": {f"x-{number}": "a" for number in range(1_000)}}, "headers"),
    ({"$set": 1}, "$set"),
    ({"a.b": 1}, "a.b"),
    ({"_id": "wh_1"}, "_id"),
    ({"k" * 500_000: 1}, "k" * 100),
]


async def test_a_wrong_field_of_the_body_is_named(api: Api, stored: StoredThings) -> None:
    for change, field in WRONG:
        assert_names(await post(api, json.dumps(GOOD | change).encode()), field)
    assert stored.database["webhooks"].count_documents({}) == 0


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('"account_id": "1"', "account_id"),
        ('"enabled": true, "enabled": true', "enabled"),
        ('"headers": {"x-a": "1", "x-a": "2"}', "headers.x-a"),
        ('"restrict_to": {"tracking_numbers": ["+33199001234"], "tracking_numbers": ["+33199005678"]}',
         "restrict_to.tracking_numbers"),
    ],
)  # fmt: skip
async def test_a_name_that_comes_twice_is_named(api: Api, text: str, field: str) -> None:
    assert_names(await post(api, with_member(text)), field)


NO_OBJECTS = [
    b"",
    b"{",
    b"\xff",
    b"\xef\xbb\xbf{}",
    json.dumps(GOOD).encode("utf-16"),
    json.dumps(GOOD).encode() + b"{}",
    b"[" * 500_000,
    with_member('"restrict_to": ' + '{"a":' * 300 + "1" + "}" * 300),
    with_member('"restrict_to": {"tracking_numbers": [' + "9" * 400_000 + "]}"),
    json.dumps(GOOD | {"name": "\ud800"}).encode(),
    with_member('"headers": {"\\ud800": "x"}'),
    b"[]",
    b"null",
    b"1e999",
]


async def test_a_body_that_is_no_object_of_json_is_named(api: Api) -> None:
    for body in NO_OBJECTS:
        assert_names(await post(api, body), "body")


async def test_an_answer_names_no_more_errors_than_people_read(api: Api) -> None:
    answer = await post(api, json.dumps(GOOD | {f"k{number}": 1 for number in range(50_000)}).encode())

    assert_problem(answer, 400, "invalid-request")
    assert len(answer.json["errors"]) == MAX_FIELD_ERRORS
    assert "(49999 more)" in answer.json["detail"]


async def test_a_body_at_the_limit_is_read_and_one_byte_more_is_too_large(api: Api) -> None:
    body = json.dumps(GOOD).encode()

    assert (await post(api, body.ljust(MAX_BODY_BYTES))).status == 201
    assert_problem(await post(api, body.ljust(MAX_BODY_BYTES + 1)), 413, "too-large")
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (MAX_BODY_BYTES + 1, body.ljust(MAX_BODY_BYTES + 1))
    assert_problem(await post(api, chunked, JSON, b"Transfer-Encoding: chunked"), 413, "too-large")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "", "*/*", "application/x-www-form-urlencoded", "application/json, text/plain", "a" * 99],
)
async def test_another_content_type_is_a_415(api: Api, content_type: str) -> None:
    answer = await post(api, json.dumps(GOOD).encode(), b"Content-Type: " + content_type.encode())

    assert_problem(answer, 415, "unsupported-media-type")


async def test_a_compressed_body_is_a_415_and_is_not_inflated(api: Api) -> None:
    encodings = (b"gzip", b"deflate", b"br", b"zstd", b"identity, gzip", b"x")
    for encoding, body in product(encodings, (b"garbage", gzip.compress(b" " * 1_000_000))):
        assert_problem(await post(api, body, JSON, b"Content-Encoding: " + encoding), 415, "unsupported-media-type")


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Transfer-Encoding: chunked", b"zz\r\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"ffffffffffffffffff\r\n{}"),
        (b"Transfer-Encoding: chunked", b"2\r\n{}xx0\r\n\r\n"),
    ],
)
async def test_a_body_that_is_framed_wrongly_is_a_problem(api: Api, framing: bytes, body: bytes) -> None:
    assert_problem(await post(api, body, JSON, framing), 400, "invalid-request")


CHANGES = [
    (b"PUT", b"/v1/accounts/%00", b'{"webhooks_enabled": true}', "id"),
    (b"PUT", b"/v1/accounts/" + b"a" * (MAX_ID_LENGTH + 1), b'{"webhooks_enabled": true}', "id"),
    (b"PUT", b"/v1/accounts/1042", b'{"webhooks_enabled": {"$ne": true}}', "webhooks_enabled"),
    (b"PUT", b"/v1/accounts/1042", b'{"webhooks_enabled": 1}', "webhooks_enabled"),
    (b"PUT", b"/v1/accounts/1042", b'{"webhooks_enabled": true, "$set": {}}', "$set"),
    (b"PATCH", b"/v1/webhooks/%00", b'{"enabled": true}', "id"),
    (b"PATCH", b"/v1/webhooks/wh_1", b'{"enabled": [true]}', "enabled"),
    (b"PATCH", b"/v1/webhooks/wh_1", b'{"enabled": true, "enabled": false}', "enabled"),
    (b"DELETE", b"/v1/webhooks/%00", b"", "id"),
    (b"POST", b"/v1/webhooks/%0A/resume", b"", "id"),
    (b"POST", b"/v1/dead-letters/%7F/requeue", b"", "id"),
]


async def test_what_changes_something_is_as_strict(api: Api) -> None:
    for method, target, body, field in CHANGES:
        assert_names(await raw_request(api.base, method, target, JSON, body=body), field)
