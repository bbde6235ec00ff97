"""Who may ask: the bearer token of a request becomes a Principal, or an end of the request. Counts what it refuses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from aiohttp import web

from router.application.limits import Buckets, Rate
from router.application.token_book import TokenBook
from router.domain.principal import ADMIN, Principal, Scope
from router.domain.token import Denial
from router.web.clients import Network, client_address
from router.web.problems import ProblemError

FAILURES_SHARE: Final = 0.1
"""Of the rate of all requests: how many of an address may fail to authenticate."""

_DENIALS: Final = {
    Denial.UNKNOWN: "the token is not known",
    Denial.EXPIRED: "the token has expired",
    Denial.REVOKED: "the token was revoked",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The rules of who gets in. `admin_token` is `api.admin_token`; None where there is none. `rate` holds for each
    token and for each client address. `denied` is told the reason of each refusal; `clock` gives monotonic seconds."""

    admin_token: str | None = field(repr=False)
    rate: Rate
    trusted_proxies: Sequence[Network] = ()
    denied: Callable[[str], object] = lambda _: None
    clock: Callable[[], float] = time.monotonic

    @property
    def admin_digest(self) -> bytes | None:
        """What is compared of the admin token."""
        return None if self.admin_token is None else _digest(self.admin_token)


class Doorkeeper:
    """Lets requests in, or ends them: 401, 403, 429."""

    def __init__(self, access: Access, tokens: TokenBook) -> None:
        self._tokens = tokens
        self._admin = access.admin_digest
        self._trusted = access.trusted_proxies
        self._denied = access.denied
        failures = Rate(per_second=access.rate.per_second * FAILURES_SHARE, burst=access.rate.burst * FAILURES_SHARE)
        self._of_address = Buckets(access.rate, access.clock)
        self._of_principal = Buckets(access.rate, access.clock)
        self._failures = Buckets(failures, access.clock)

    async def admit(self, request: web.Request, scope: Scope) -> Principal:
        """Who sends a request that needs `scope`. Raises ProblemError, and DependencyUnavailable where the store does
        not say whose token it is."""
        address = self.pace(request)
        principal = await self.identify(address, self._bearer(request))
        if isinstance(principal, Denial):
            raise ProblemError(401, _DENIALS[principal], headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        self.let_in(principal, scope)
        return principal

    async def identify(self, address: str, text: str) -> Principal | Denial:
        """Who sends `text` as a token from `address`. Raises a 429 where too many failed, and DependencyUnavailable
        where the store does not say."""
        # Before the token is looked at: else guessing would go on under the limit, and only the right guess be let in.
        self._require("failures", self._failures.wait(address))

        principal = ADMIN if self._is_admin(text) else await self._tokens.principal(text)
        if isinstance(principal, Denial):
            self._failures.take(address)
            self._denied(principal.value)
        return principal

    def let_in(self, principal: Principal, scope: Scope) -> None:
        """Raises a 429 where there were too many requests of this principal, a 403 where it may not do this."""
        self.count(principal)
        if not principal.may(scope):
            needs = f'Bearer error="insufficient_scope", scope="{scope.value}"'
            raise self._refusal("scope", 403, f"the token does not have the scope {scope.value}", needs)

    def count(self, principal: Principal) -> None:
        """Raises a 429 where there were too many requests of this principal."""
        self._require("token_rate", self._of_principal.take(principal.name))

    def pace(self, request: web.Request) -> str:
        """The address that a request counts for. Raises a 429 where there were too many of it."""
        address = client_address(request.remote, request.headers.getall("X-Forwarded-For", ()), self._trusted)
        self._require("address_rate", self._of_address.take(address))
        return address

    def _bearer(self, request: web.Request) -> str:
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise self._refusal("no_token", 401, "send the header 'Authorization: Bearer <token>'", "Bearer")
        return text.strip()

    def _is_admin(self, text: str) -> bool:
        # Digests of one length, so that the time of the comparison says nothing about the token.
        return self._admin is not None and compare_digest(self._admin, _digest(text))

    def _require(self, reason: str, wait_seconds: float) -> None:
        if wait_seconds:
            self._denied(reason)
            seconds = max(1, math.ceil(wait_seconds))
            raise ProblemError(
                429, f"too many requests; try again in {seconds} s", headers={"Retry-After": str(seconds)}
            )

    def _refusal(self, reason: str, status: int, detail: str, challenge: str) -> ProblemError:
        self._denied(reason)
        return ProblemError(status, detail, headers={"WWW-Authenticate": challenge})


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="surrogateescape")).digest()
