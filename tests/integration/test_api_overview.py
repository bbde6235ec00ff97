"""Search and health over the API."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router.domain.delivery import AttemptError, DeliveryStatus, ErrorDetail, ErrorKind
from router.domain.webhook import Suspension, SuspensionReason
from tests.support.api import Api, Surroundings, assert_names
from tests.support.samples import at, attempt, dead_letter, delivery, event, webhook
from tests.support.stored import StoredThings

EXPIRED = replace(
    attempt(1),
    status_code=None,
    error=AttemptError.TLS,
    response_body=None,
    error_detail=ErrorDetail(kind=ErrorKind.CERTIFICATE_EXPIRED, at=at(-60)),
)


async def test_search_says_what_it_tried_and_shows_neither_number_nor_payload(api: Api, stored: StoredThings) -> None:
    received = event(matched=["wh_crm"], payload=b'{"caller":"+33639981122"}')
    sent = delivery(received)
    stored.add_webhook(webhook())
    stored.add_event(received)
    stored.add_delivery(sent, received.key, ["22118993633"])

    answer = await api.get("/v1/search", q="06 39 98 11 22", account_id="1042")

    assert answer.json == {
        "tried": ["number"],
        "groups": [
            {
                "kind": "number",
                "items": [
                    {
                        "kind": "delivery",
                        "id": sent.id,
                        "account_id": "1042",
                        "name": "call.received",
                        "status": "delivered",
                        "at": "2026-03-01T12:00:00.000Z",
                        "webhook_id": "wh_crm",
                    }
                ],
                "has_more": False,
            }
        ],
    }
    assert stored.database["audit"].count_documents({}) == 0


@pytest.mark.parametrize(
    ("query", "field"), [("", "q"), ("q=", "q"), ("q=a%00", "q"), ("q=" + "x" * 2_049, "q"), ("q=%20%E2%80%8B", "q")]
)
async def test_search_for_what_nothing_is_called_names_the_parameter(api: Api, query: str, field: str) -> None:
    assert_names(await api.request("GET", f"/v1/search?{query}"), field)


async def test_health_tells_what_fails_what_waits_and_what_this_process_sees(
    api: Api, surroundings: Surroundings, stored: StoredThings
) -> None:
    received = event()
    waiting = delivery(received, status=DeliveryStatus.PENDING, attempts=(EXPIRED,), next_attempt_at=at(-1))
    stored.add_webhook(webhook())
    stored.add_webhook(webhook("wh_gone", suspension=Suspension(since=at(-5), reason=SuspensionReason.GONE)))
    stored.add_delivery(waiting, received.key)
    stored.database["webhook_health"].insert_one({"_id": "wh_crm", "failing_since": at(-60)})
    stored.add_dead_letter(dead_letter())
    surroundings.checks.clear()
    surroundings.checks.update({"store": True, "consumer:call": True, "consumer:cdr": False})

    told = (await api.get("/v1/health")).json

    assert told["process"] == {"store": True, "broker": False, "definitions": None, "workers": None}
    (failing,) = told["failing"]["items"]
    assert (failing["webhook_id"], failing["failing_since"]) == ("wh_crm", "2026-03-01T11:59:00.000Z")
    assert (failing["delivery_id"], failing["last_error"]["error"]) == (waiting.id, "tls")
    assert failing["last_error"]["error_detail"] == {
        "kind": "certificate_expired",
        "host": None,
        "at": "2026-03-01T11:59:00.000Z",
    }
    (suspended,) = told["suspended"]["items"]
    assert (suspended["webhook_id"], suspended["suspended_reason"]) == ("wh_gone", "gone")
    assert suspended["last_error"] is None
    assert told["pending"] == {
        "count": 1,
        "due": 1,
        "due_since": "2026-03-01T11:59:59.000Z",
        "oldest_delivery_id": waiting.id,
        "oldest_received_at": "2026-03-01T12:00:00.000Z",
    }
    assert told["dead_letters"] == [
        {"reason": "not_json", "total": 1, "open": 1, "newest_at": "2026-03-01T12:00:00.000Z"}
    ]
