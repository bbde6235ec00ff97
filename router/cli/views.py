"""The JSON objects of `--json`: those of the HTTP API, made by its own code, so that there is one shape of each.

That code is loaded when it is first needed: it brings pydantic with it, which `--help` can do without.
"""

# ruff: noqa: PLC0415  see above

from __future__ import annotations

import json
from typing import Any

from router.application.queries import EventReport, WebhookReport
from router.application.replay import ReplayPlan
from router.application.search import SearchReport
from router.domain.delivery import Delivery
from router.domain.token import Token
from router.ports import AuditRecord, Replay, StoredAccount, StoredDeadLetter

View = dict[str, Any]


def account(found: StoredAccount) -> View:
    from router.web.api.views import account_object

    return _plain(account_object(found))


def webhook(report: WebhookReport) -> View:
    from router.web.api.views import webhook_object

    return _plain(webhook_object(report))


def delivery(found: Delivery) -> View:
    from router.web.api.views import delivery_object

    return _plain(delivery_object(found))


def delivery_with_payload(found: Delivery, payload: bytes | None) -> View:
    from router.web.api.views import delivery_detail

    return _plain(delivery_detail(found, payload))


def replay(found: Replay) -> View:
    from router.web.api.replay_objects import replay_object

    return _plain(replay_object(found))


def replay_preview(plan: ReplayPlan) -> View:
    from router.web.api.replay_objects import preview_object

    return _plain(preview_object(plan))


def event(report: EventReport) -> View:
    from router.web.api.views import event_object

    return _plain(event_object(report))


def dead_letter(found: StoredDeadLetter) -> View:
    from router.web.api.views import dead_letter_object

    return _plain(dead_letter_object(found))


def dead_letter_with_body(found: StoredDeadLetter) -> View:
    from router.web.api.views import dead_letter_detail

    return _plain(dead_letter_detail(found))


def search(report: SearchReport) -> View:
    from router.web.api.overview import search_object

    return _plain(search_object(report))


def audit_record(found: AuditRecord) -> View:
    from router.web.api.views import audit_object

    return _plain(audit_object(found))


def token(found: Token) -> View:
    from router.web.api.views import token_object

    return _plain(token_object(found))


def _plain(shape: object) -> View:
    """An API object as plain data, times as text, the way HTTP sends it."""
    from router.web.encoding import encode

    plain: View = json.loads(encode(shape))
    return plain
