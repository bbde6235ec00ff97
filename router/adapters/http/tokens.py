"""OAuth 2 access tokens for webhooks: which one goes with a request, when a new one is needed, what an answer of a
token endpoint says. Keeps tokens in memory; the fetching itself is the sender's.

No text made here holds a token, a secret, or a byte of the endpoint's answer.
"""

from __future__ import annotations

import json
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from router.adapters.http.sharing import SharedWork
from router.domain.credentials import OAuth2Auth
from router.domain.delivery import AttemptError, ErrorDetail, ErrorKind
from router.domain.outcome import LocalFault, NoAnswer
from router.domain.webhook import WebhookId

MAX_TOKENS: Final = 10_000
"""Webhooks whose token is kept; the one that was used last stays longest."""
MAX_TOKEN_ANSWER_BYTES: Final = 65_536
MAX_TOKEN_LENGTH: Final = 8_192
MARGIN_SECONDS: Final = 30.0
"""A token is not used for the last seconds of its life, or the last half of a short one: requests take time."""
DEFAULT_LIFE_SECONDS: Final = 300.0
"""Of a token whose answer does not say (RFC 6749, 5.1, leaves that to documentation)."""
MAX_LIFE_SECONDS: Final = 86_400.0
FAILURE_SECONDS: Final = 1.0
"""How long the endpoint is left alone after a failure; attempts meanwhile fail as that one did."""
REFUSED_SECONDS: Final = 60.0
"""A token that was fetched because the last one was refused is kept this long, whatever is said of it: otherwise a
server that refuses every token would cost its token endpoint a request for each attempt."""

_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_ERROR_CODES: Final = frozenset({
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
    "invalid_scope", "server_error", "temporarily_unavailable",
})  # fmt: skip
"""Of RFC 6749. Other texts are the endpoint's own, and might repeat what it was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A token, and for how many seconds it may be used from now on."""

    token: str = field(repr=False)
    life_seconds: float


TokenAnswer = Grant | NoAnswer | LocalFault


@dataclass(slots=True, kw_only=True)
class _Entry:
    """What is known of one webhook's token. `answer` holds until `good_until`."""

    auth: OAuth2Auth
    answer: TokenAnswer
    good_until: float
    kept_until: float = -math.inf
    """Before then, a refusal of the token is not listened to."""


class Tokens:
    """The tokens by webhook. `now` is a clock in seconds that only grows."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._entries: OrderedDict[WebhookId, _Entry] = OrderedDict()
        self._refused: set[WebhookId] = set()
        self._fetching: SharedWork[tuple[WebhookId, OAuth2Auth], TokenAnswer] = SharedWork("access-token")

    async def get(
        self, webhook_id: WebhookId, auth: OAuth2Auth, fetch: Callable[[], Coroutine[Any, Any, TokenAnswer]]
    ) -> TokenAnswer:
        """The token to send, or why there is none. `fetch` runs once, however many wait for what it brings."""
        entry = self._entries.get(webhook_id)
        if entry is not None and entry.auth == auth and self._now() < entry.good_until:
            self._entries.move_to_end(webhook_id)
            return entry.answer
        return await self._fetching.result((webhook_id, auth), lambda: self._refresh(webhook_id, auth, fetch))

    def refused(self, webhook_id: WebhookId, token: str) -> None:
        """The customer's server did not take `token`: the next attempt gets another one."""
        entry = self._entries.get(webhook_id)
        # One that was fetched meanwhile is not to suffer for the one before.
        is_current = entry is not None and isinstance(entry.answer, Grant) and entry.answer.token == token
        if entry is not None and is_current and self._now() >= entry.kept_until:
            del self._entries[webhook_id]
            self._refused.add(webhook_id)

    async def _refresh(
        self, webhook_id: WebhookId, auth: OAuth2Auth, fetch: Callable[[], Coroutine[Any, Any, TokenAnswer]]
    ) -> TokenAnswer:
        answer = await fetch()
        now = self._now()
        match answer:
            case Grant():
                kept_until = now + REFUSED_SECONDS if webhook_id in self._refused else -math.inf
                self._refused.discard(webhook_id)
                good_until = now + answer.life_seconds
                self._keep(webhook_id, _Entry(auth=auth, answer=answer, good_until=good_until, kept_until=kept_until))
            case NoAnswer():
                self._keep(webhook_id, _Entry(auth=auth, answer=answer, good_until=now + FAILURE_SECONDS))
            case LocalFault():
                pass  # ours, and over as soon as we can again
        return answer

    def _keep(self, webhook_id: WebhookId, entry: _Entry) -> None:
        self._entries[webhook_id] = entry
        self._entries.move_to_end(webhook_id)
        while len(self._entries) > MAX_TOKENS:
            self._entries.popitem(last=False)
        while len(self._refused) > MAX_TOKENS:
            self._refused.pop()

    async def close(self) -> None:
        await self._fetching.close()
        self._entries.clear()


# --- what a token endpoint answers -----------------------------------------------------------------


def read_token(status: int, body: bytes, *, complete: bool) -> Grant | NoAnswer:
    """The token in an answer, or what is wrong with the answer."""
    if not 200 <= status < 300:
        code = _object(body).get("error") if complete else None
        known = f", {code}" if isinstance(code, str) and code in _ERROR_CODES else ""
        error = AttemptError.REDIRECT if 300 <= status < 400 else AttemptError.HTTP_STATUS
        return failure(error, f"answered {status}{known}")
    if not complete:
        return failure(AttemptError.PROTOCOL, "its answer was cut off, or is too long")
    answer = _object(body)
    token, kind = answer.get("access_token"), answer.get("token_type", "bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return failure(AttemptError.PROTOCOL, "its token is no bearer token")
    if not isinstance(token, str) or len(token) > MAX_TOKEN_LENGTH or not _TOKEN.fullmatch(token):
        return failure(AttemptError.PROTOCOL, "its answer holds no access_token that can be sent")
    return Grant(token=token, life_seconds=_life(answer.get("expires_in")))


def failure(error: AttemptError, what: str) -> NoAnswer:
    """An attempt that did not come to be, because there was no token."""
    text = f"token endpoint: {what}"
    return NoAnswer(error=error, detail=text, note=text, error_detail=ErrorDetail(kind=ErrorKind.TOKEN_ENDPOINT))


def _life(expires_in: object) -> float:
    """Seconds for which a token is used. Some servers write the number as text."""
    try:
        seconds = float(expires_in) if isinstance(expires_in, int | float | str) else DEFAULT_LIFE_SECONDS
    except (ValueError, OverflowError):
        seconds = DEFAULT_LIFE_SECONDS
    if math.isnan(seconds) or isinstance(expires_in, bool):
        seconds = DEFAULT_LIFE_SECONDS
    seconds = min(max(seconds, 0.0), MAX_LIFE_SECONDS)
    return max(seconds - MARGIN_SECONDS, seconds / 2)


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
