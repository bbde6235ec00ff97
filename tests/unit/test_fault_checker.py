"""The judge of the fault suite on made-up outcomes: each invariant that is broken is noticed."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from standardwebhooks import Webhook as Signer
from standardwebhooks import WebhookVerificationError

from tests.support.events import encode, make_event
from tests.support.fault_checker import Fault, Trial
from tests.support.fault_report import read_rows
from tests.support.http_server import Connection, Request

SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()
PATH = "/hook"
WEBHOOK = "wh_1"


@dataclass
class Documents:
    """A collection that is a list."""

    items: list[dict[str, Any]] = field(default_factory=list)

    def find(self, _: object) -> list[dict[str, Any]]:
        return self.items

    def count_documents(self, _: object) -> int:
        return len(self.items)


def request_of(event: dict[str, Any], *, secret: str = SECRET, body: bytes | None = None) -> Request:
    body = encode(event) if body is None else body
    now = datetime.now(UTC)
    headers = {
        "webhook-id": event["id"],
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Signer(secret).sign(event["id"], now, body.decode()),
    }
    return Request(
        method="POST", target=PATH, version="HTTP/1.1", headers=tuple(headers.items()), body=body, raw_head=b"",
        connection=Connection(number=0), nth_on_connection=1,
    )  # fmt: skip


def attempt(number: int, error: str | None = None) -> dict[str, Any]:
    return {"number": number, "error": error}


def delivery_of(event: dict[str, Any], *attempts: dict[str, Any], status: str = "delivered") -> dict[str, Any]:
    return {
        "_id": "dlv_" + event["id"], "event_id": event["id"], "webhook_id": WEBHOOK, "status": status,
        "attempts": list(attempts or [attempt(1)]),
    }  # fmt: skip


@dataclass
class Outcome:
    """A trial of two events where all went well, for a test to spoil."""

    trial: Trial
    deliveries: Documents
    letters: Documents
    one: dict[str, Any]
    two: dict[str, Any]

    @property
    def accepted(self) -> list[Request]:
        return self.trial.customer.accepted

    def judge(self, **allowed: Any) -> None:
        asyncio.run(self.trial.check(within_seconds=0.01, **allowed))


@pytest.fixture
def outcome(tmp_path: Path) -> Outcome:
    one, two = make_event("acc-1"), make_event("acc-1")
    deliveries, letters = Documents([delivery_of(one), delivery_of(two)]), Documents()
    platform: Any = SimpleNamespace(database=SimpleNamespace(deliveries=deliveries, dead_letters=letters))
    trial = Trial(
        fault=Fault(number=1, text="nothing"), test="test", platform=platform, directory=tmp_path, rows=tmp_path,
        webhooks={WEBHOOK: "cdr"}, paths={PATH: WEBHOOK}, secrets={PATH: SECRET},
    )  # fmt: skip
    for event in (one, two):
        trial.confirm(event)
        trial.customer.accepted.append(request_of(event))
    return Outcome(trial, deliveries, letters, one, two)


def test_good_outcome_passes_and_leaves_its_row(outcome: Outcome, tmp_path: Path) -> None:
    outcome.judge()
    (row,) = read_rows(tmp_path)
    assert (row.events, row.deliveries, row.lost, row.duplicates, row.dead_letters) == (2, 2, 0, 0, 0)


def _never_received(it: Outcome) -> None:
    it.accepted.pop()


def _not_stored(it: Outcome) -> None:
    it.deliveries.items.pop()


def _still_pending(it: Outcome) -> None:
    it.deliveries.items[0]["status"] = "pending"


def _stored_twice(it: Outcome) -> None:
    it.deliveries.items.append(delivery_of(it.one))


def _received_twice(it: Outcome) -> None:
    it.accepted.append(request_of(it.one))


def _attempted_after_success(it: Outcome) -> None:
    it.deliveries.items[0]["attempts"] = [attempt(1), attempt(2)]


def _attempt_missing(it: Outcome) -> None:
    it.deliveries.items[0]["attempts"] = [attempt(1, "timeout"), attempt(3)]


def _failed(it: Outcome) -> None:
    it.deliveries.items[0] |= {"status": "failed", "attempts": [attempt(1, "timeout")]}


def _wrong_secret(it: Outcome) -> None:
    it.accepted[0] = request_of(it.one, secret="whsec_" + base64.b64encode(b"x" * 24).decode())


def _other_bytes(it: Outcome) -> None:
    it.accepted[0] = request_of(it.one, body=encode({**it.one, "version": "2"}))


def _nobody_published_it(it: Outcome) -> None:
    it.deliveries.items.append(delivery_of(make_event("acc-1")))


def _dead_letter(it: Outcome) -> None:
    it.letters.items.append({})


@pytest.mark.parametrize(
    "spoil",
    [
        _never_received, _not_stored, _still_pending, _stored_twice, _received_twice, _attempted_after_success,
        _attempt_missing, _failed, _wrong_secret, _other_bytes, _nobody_published_it, _dead_letter,
    ],
)  # fmt: skip
def test_broken_invariant_is_noticed(outcome: Outcome, spoil: Callable[[Outcome], None]) -> None:
    spoil(outcome)
    with pytest.raises((AssertionError, WebhookVerificationError)):
        outcome.judge()


def test_what_the_fault_may_cost_passes(outcome: Outcome) -> None:
    _received_twice(outcome)
    _failed(outcome)
    _dead_letter(outcome)
    outcome.judge(duplicates_allowed=1, statuses={"failed": 1}, dead_letters=1)


def test_event_without_confirm_may_be_missing_or_there(outcome: Outcome) -> None:
    there, missing = make_event("acc-1"), make_event("acc-1")
    outcome.trial.unconfirmed |= {there["id"]: there, missing["id"]: missing}
    outcome.deliveries.items.append(delivery_of(there))
    outcome.accepted.append(request_of(there))
    outcome.judge()


def test_unrecorded_requests_are_counted(outcome: Outcome) -> None:
    _still_pending(outcome)
    outcome.trial.customer.requests.extend(outcome.accepted)
    assert asyncio.run(outcome.trial.unrecorded()) == 1
