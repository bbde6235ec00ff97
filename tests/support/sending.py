"""What the suites of the HTTP sender share: a sender that may reach loopback, and requests for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import uvloop

from router.adapters.http.connector import client_tls
from router.adapters.http.sender import HttpSender
from router.domain.credentials import ClientCertificate, OAuth2Auth
from router.domain.egress import EgressPolicy, parse_allow_rule
from router.domain.outcome import SendResult
from router.domain.webhook import WebhookId
from router.ports import OutgoingRequest

LOOPBACK: Final = EgressPolicy(allow=(parse_allow_rule("127.0.0.1"), parse_allow_rule("::1")), require_https=False)
"""What a test server needs. 127.0.0.2 and all the rest stay forbidden."""

EVENT_LOOPS: Final = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
"""They report the same failure in different ways, and the router runs on either."""

_TLS = client_tls()  # once: reading the system's authorities takes longer than most tests

_HANG_SECONDS = 20
"""After which a request that did not end fails its test; far less than the timeout of one that is not meant to
reach it, far more than of one that is."""


class WatchedSender(HttpSender):
    """An HttpSender with a watch on the one promise that a test cannot see broken: that `send` returns."""

    async def send(self, request: OutgoingRequest) -> SendResult:
        async with asyncio.timeout(_HANG_SECONDS):
            return await super().send(request)


@asynccontextmanager
async def open_sender(policy: EgressPolicy = LOOPBACK, **options: Any) -> AsyncIterator[HttpSender]:
    """A sender, open for the length of a block."""
    sender = WatchedSender(policy, **{"tls": lambda: _TLS, **options})
    await sender.open()
    try:
        yield sender
    finally:
        await sender.close()


def outgoing(
    url: str,
    *,
    body: bytes = b"{}",
    headers: Mapping[str, str] | None = None,
    timeout_seconds: float = 60,
    webhook_id: str = "wh_1",
    auth: OAuth2Auth | None = None,
    client_certificate: ClientCertificate | None = None,
) -> OutgoingRequest:
    """A request as the application makes it, but for the headers that matter to the customer only."""
    return OutgoingRequest(
        url=url,
        headers={"content-type": "application/json", "user-agent": "webhook-router/test", **(headers or {})},
        body=body,
        timeout=timedelta(seconds=timeout_seconds),
        webhook_id=WebhookId(webhook_id),
        auth=auth,
        client_certificate=client_certificate,
    )
