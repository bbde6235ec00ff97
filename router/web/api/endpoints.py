"""What an endpoint is: a plain async function whose types say what it takes and gives. The server parses by them and
the OpenAPI document is made from them, so neither can disagree with the code. Knows no HTTP library.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from router.application.audit import Auditor
from router.application.manage import Randomness
from router.domain.egress import EgressPolicy
from router.domain.principal import Principal, Scope
from router.domain.version import ANY, Seen
from router.ports import AuditLog, Publisher, Reader, Registry, ReplayStore, TokenStore

Query = TypeVar("Query", bound=BaseModel)
Body = TypeVar("Body")
Answer = TypeVar("Answer")


CatchUp = Callable[[], Awaitable[None]]


async def nothing_to_catch_up() -> None:
    """Where nobody delivers in this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """What endpoints work with, made for one principal: `reader`, `registry`, `replays` and `audit` know nothing that
    it may not see. `country` is where numbers without a country code are dialled, `egress` where new webhooks may
    lead."""

    reader: Reader
    registry: Registry
    replays: ReplayStore
    replay_rate: float
    """Deliveries a second of a bulk replay that does not say."""
    tokens: TokenStore
    audit: AuditLog
    publisher: Publisher
    queue_of_source: Mapping[str, str]
    country: str
    egress: EgressPolicy
    now: Callable[[], datetime]
    randomness: Randomness
    checks: Callable[[], Mapping[str, bool]]
    """What readiness depends on, and whether each is well now."""
    rotation_overlap: timedelta
    """How long old secrets sign where a rotation does not say."""
    catch_up: CatchUp = nothing_to_catch_up
    """Awaited before every answer: whoever has been sent a delivery finds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[Query, Body]):
    """One request, parsed. `id` is the part of the path in braces, empty where there is none. `audit` writes in the
    name of `principal`, who sends it and has `seen` these versions of what they want to change."""

    id: str
    query: Query
    body: Body
    principal: Principal
    audit: Auditor
    seen: Seen = ANY


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged(Generic[Answer]):
    """An answer that is one thing, and the version that it is at: its ETag."""

    answer: Answer
    version: str


Handler = Callable[[Api, Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path. `missing` is what a caller is told where the handler answers None or False: a 404.
    `may_conflict` says that it may be lost to others who do the same: a 409; `conditional` that it heeds If-Match: a
    412."""

    method: str
    path: str
    scope: Scope
    status: int
    missing: str | None
    may_conflict: bool
    conditional: bool
    query: type[BaseModel]
    body: type[BaseModel] | None
    answer: Any
    """The type of the answer, for its JSON schema; None: no content."""
    previews: Any
    """The type of an answer where nothing was done, which was not asked for: a 200. None: there is no such."""
    tagged: bool
    """Whether the answer has an ETag."""
    handler: Handler

    @property
    def needs_body(self) -> bool:
        """Whether there must be a body: one of which nothing is required may be left out, but not what changes."""
        if self.body is None:
            return False
        return self.method == "PATCH" or any(field.is_required() for field in self.body.model_fields.values())

    @property
    def summary(self) -> str:
        return _paragraphs(self.handler)[0]

    @property
    def description(self) -> str | None:
        return "\n\n".join(_paragraphs(self.handler)[1:]) or None


def endpoint(
    method: str,
    path: str,
    scope: Scope,
    *,
    status: int = 200,
    missing: str | None = None,
    may_conflict: bool = False,
    conditional: bool = False,
) -> Callable[[Handler], Endpoint]:
    """Makes an Endpoint of `async def handler(api: Api, call: Call[Query, Body]) -> Answer`."""

    def decorate(handler: Handler) -> Endpoint:
        types = get_type_hints(handler)
        query, body = get_args(types["call"])
        answer, previews, tagged = _answer(types["return"])
        return Endpoint(
            method=method,
            path=path,
            scope=scope,
            status=status,
            missing=missing,
            may_conflict=may_conflict,
            conditional=conditional,
            query=query,
            body=None if body is NoneType else body,
            answer=None if status == 204 else answer,
            previews=previews,
            tagged=tagged,
            handler=handler,
        )

    return decorate


def _answer(kind: Any) -> tuple[Any, Any, bool]:
    """What an answer of this type is made of, what it previews, and whether it is tagged. None beside it is a 404."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    answer, *previews = (each for each in kinds if each is not NoneType)
    tagged = get_origin(answer) is Tagged
    return get_args(answer)[0] if tagged else answer, previews[0] if previews else None, tagged


def _paragraphs(handler: Handler) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in (handler.__doc__ or "").split("\n\n")]
