"""Who may ask: the bearer token of a request against the one that was configured. Pure."""

from __future__ import annotations

from hashlib import sha256
from hmac import compare_digest
from typing import Final

from router.domain.principal import Principal, Scope
from router.web.problems import ProblemError

_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}
ADMIN: Final = Principal(name="admin_token", scopes=frozenset({Scope.ADMIN}))
"""Whoever has `api.admin_token`."""


class AdminToken:
    """The token with every scope, `api.admin_token`; None where none is set, and then nobody gets in."""

    def __init__(self, token: str | None) -> None:
        self._digest = None if token is None else sha256(token.encode()).digest()

    def check(self, authorization: str | None) -> None:
        """Raises a 401 unless the `Authorization` header carries the token."""
        if self._digest is None:
            raise ProblemError(
                401,
                "the API has no token: set api.admin_token (ROUTER_API__ADMIN_TOKEN) and start the router again",
                headers=_CHALLENGE,
            )
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise ProblemError(401, "send the header 'Authorization: Bearer <token>'", headers=_CHALLENGE)
        # Digests of one length, so that the time of the comparison says nothing about the token.
        digest = sha256(token.strip().encode(errors="surrogateescape")).digest()
        if not compare_digest(digest, self._digest):
            raise ProblemError(401, "the token is not known", headers=_CHALLENGE)
