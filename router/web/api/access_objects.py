"""The JSON objects of who may do what, and who did: tokens and the audit trail. Types only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from pydantic import Field

from router.domain.principal import Scope
from router.web.api.objects import PageObject

# --- the audit trail -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditObject:
    """Who saw or changed what."""

    id: Annotated[str, Field(description="Id of the entry.", examples=["au_019c2f5a3b00a1b2c3d4e5f6"])]
    at: datetime
    actor: Annotated[
        str, Field(description="A token's name, `admin_token`, or `cli:` and a user.", examples=["cli:support"])
    ]
    action: Annotated[str, Field(description="What was done.", examples=["delivery.revealed"])]
    account_id: Annotated[str | None, Field(description="null: to no single account.", examples=["1042"])]
    target: Annotated[str | None, Field(description="Id of what it was done to.", examples=["wh_crm"])]
    details: Annotated[
        dict[str, str | int | bool | list[str]],
        Field(description="Counts, ids and names of fields; never a number or a payload.", examples=[{"listed": 3}]),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage(PageObject):
    """A page of the audit trail."""

    items: list[AuditObject]


# --- tokens ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenObject:
    """What is kept of a token, which is not enough to show it."""

    id: Annotated[str, Field(description="Id of the token.", examples=["4fQ0xZ9a"])]
    prefix: Annotated[str, Field(description="How the token begins.", examples=["whr_4fQ0xZ9a"])]
    name: Annotated[str, Field(description="What it is for.", examples=["support desk"])]
    scopes: Annotated[list[Scope], Field(description="What it allows; `admin` allows everything.")]
    account_id: Annotated[str | None, Field(description="null: it sees every account.", examples=["1042"])]
    created_at: datetime
    created_by: Annotated[
        str, Field(description="`token:` and an id, `admin_token`, or `cli:` and a user.", examples=["cli:ops"])
    ]
    expires_at: Annotated[datetime | None, Field(description="null: never.")]
    last_used_at: Annotated[datetime | None, Field(description="To about a minute; null: not yet.")]
    revoked_at: Annotated[datetime | None, Field(description="null: it was not revoked.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenWithText(TokenObject):
    """A token that was just made, with its text, which is not shown again."""

    token: Annotated[
        str,
        Field(
            description="What to send as bearer token.",
            examples=["whr_4fQ0xZ9a_0000000000000000000000000000000000000000000000000"],
        ),
    ] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPage(PageObject):
    """A page of tokens."""

    items: list[TokenObject]
