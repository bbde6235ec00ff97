"""The endpoints that make, list and revoke tokens. They need the scope `admin`."""

from __future__ import annotations

from typing import Final

from router.application import queries, tokens
from router.domain.principal import Scope
from router.domain.token import read_token_id
from router.web.api import views
from router.web.api.access_objects import TokenPage, TokenWithText
from router.web.api.bodies import NewToken
from router.web.api.endpoints import Api, Call, Endpoint, endpoint
from router.web.api.params import NoQuery, PageQuery


@endpoint("POST", "/v1/tokens", Scope.ADMIN, status=201)
async def create_token(api: Api, call: Call[NoQuery, NewToken]) -> TokenWithText:
    """Make a token.

    The answer shows it for the only time. Without `account_id` it is for the account of the token that makes it; where
    that is for all of them, so is the new one.
    """
    new = await tokens.create_token(
        api.tokens, api.audit, call.principal, call.body.draft(), randomness=api.randomness, now=api.now()
    )
    return views.token_with_text(new)


@endpoint("GET", "/v1/tokens", Scope.ADMIN)
async def list_tokens(api: Api, call: Call[PageQuery, None]) -> TokenPage:
    """List tokens, the newest first, expired and revoked ones too.

    What is kept of a token is not enough to show it.
    """
    return views.token_page(await queries.list_tokens(api.tokens, call.principal, call.query.page()))


@endpoint("DELETE", "/v1/tokens/{id}", Scope.ADMIN, status=204, missing="no token has this id")
async def revoke_token(api: Api, call: Call[NoQuery, None]) -> bool:
    """Revoke a token.

    Every process of the router refuses it within a second. It stays in the list.
    """
    found = await tokens.revoke_token(api.tokens, api.audit, call.principal, read_token_id(call.id), now=api.now())
    return found is not None


TOKENS: Final[tuple[Endpoint, ...]] = (create_token, list_tokens, revoke_token)
