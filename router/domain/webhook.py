"""A webhook as its owner defined it, and the in-memory view of one account's webhooks. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from router.domain.credentials import Auth, ClientCertificate, OAuth2Auth
from router.domain.event import AccountId, EventType
from router.domain.signing import Secret, SigningKey

WebhookId = NewType("WebhookId", str)


class WebhookState(StrEnum):
    """What a webhook does with the next event (contract, section 6)."""

    ACTIVE = "active"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    INVALID = "invalid"


class SuspensionReason(StrEnum):
    """Why the router stopped sending to a webhook by itself."""

    GONE = "gone"
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """The router's own decision to stop sending, until somebody resumes the webhook."""

    since: datetime
    reason: SuspensionReason


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingNumberRestriction:
    """Only events whose tracking number is one of these (E.164). For `call` and `cdr`."""

    numbers: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRestriction:
    """Only events of this user. For `user`."""

    user_id: str


Restriction = TrackingNumberRestriction | UserRestriction


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A definition from the store.

    `problem` says in one sentence why a wrong definition is skipped; None for a usable one. The fields of
    a wrong definition hold what could be read. `secrets` come with the newest first, those that are over among them.
    """

    id: WebhookId
    account_id: AccountId
    name: str
    url: str
    event_type: EventType | None
    enabled: bool
    restriction: Restriction | None = None
    secrets: tuple[Secret, ...] = field(default=(), repr=False)
    signing_key: SigningKey | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    auth: Auth | None = field(default=None, repr=False)
    client_certificate: ClientCertificate | None = field(default=None, repr=False)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    problem: str | None = None
    wrong: frozenset[str] = frozenset()
    """Names of the fields that break a rule, as the definition has them."""
    version: str = field(default="", compare=False)
    """What this definition is, in one word: another one has another. Empty where nobody will change it."""
    suspension: Suspension | None = None
    failing_since: datetime | None = None
    recovering_from: Suspension | None = None
    """A suspension that was lifted; until the webhook delivers again."""
    sent_headers: tuple[tuple[str, str], ...] = field(init=False, repr=False, compare=False)
    """What every request carries of the definition: its headers, and a credential that never changes."""

    def __post_init__(self) -> None:
        # Once for each definition, and not for each delivery.
        fixed = None if self.auth is None or isinstance(self.auth, OAuth2Auth) else self.auth.authorization
        added = () if fixed is None else (("authorization", fixed),)
        object.__setattr__(self, "sent_headers", (*self.headers, *added))

    @property
    def state(self) -> WebhookState:
        if self.problem is not None:
            return WebhookState.INVALID
        if not self.enabled:
            return WebhookState.PAUSED
        if self.suspension is not None:
            return WebhookState.SUSPENDED
        return WebhookState.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account as matching sees it: its switch and all of its webhooks, by id."""

    id: AccountId
    webhooks_enabled: bool
    webhooks: tuple[Webhook, ...]
