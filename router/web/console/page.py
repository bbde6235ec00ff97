"""What a page is: a plain async function that takes a parsed request and says what to show, or where to go on. Knows no
HTTP library and no template engine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict

from router.application.audit import Auditor
from router.domain.errors import InvalidInput, NotAllowed
from router.domain.event import AccountId
from router.domain.principal import Principal, Scope
from router.web.api.endpoints import Api
from router.web.console.formats import Formats
from router.web.console.here import Here
from router.web.console.labels import Labels
from router.web.console.language import Language
from router.web.console.rules import translate_rule

Query = TypeVar("Query", bound=BaseModel)


NONE_FROM_EMPTY: Final = BeforeValidator(lambda value: value or None)
"""For a parameter of a filter: a form sends what was not chosen as an empty text."""


class NoQuery(BaseModel):
    """No parameters; the base of all others. What a page does not know is passed over: people paste all sorts of
    links. `lang`, `zone` and `account` are taken care of before (`Page.here`)."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What was typed, each field with its values. Came from a form of ours, of this session."""

    fields: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)

    def get(self, name: str, otherwise: str = "") -> str:
        """The first value of a field."""
        return next(iter(self.fields.get(name, ())), otherwise)

    def all(self, name: str) -> Sequence[str]:
        """Every value: of check boxes with one name."""
        return self.fields.get(name, ())

    def has(self, name: str) -> bool:
        """Whether a check box is ticked, or a button was pressed."""
        return name in self.fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A page to render."""

    template: str
    context: Mapping[str, object] = field(repr=False)
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Where to go on, and what to say there once."""

    to: str
    notice: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A file to keep. Browsers are told never to show it."""

    name: str
    body: bytes = field(repr=False)
    content_type: str = "application/octet-stream"


Answer = Shown | Redirect | Download


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Query]):
    """One request, parsed. `id` is the part of the path in braces, empty where there is none. `api` is made for
    `principal` and knows nothing that it may not see; `audit` writes in its name."""

    api: Api
    id: str
    query: Query
    form: Form
    principal: Principal
    audit: Auditor
    here: Here
    language: Language
    fmt: Formats
    label: Labels

    @property
    def account(self) -> AccountId | None:
        """The account that is looked at; None: every one that the principal sees."""
        return AccountId(self.here.account) if self.here.account else None

    def gettext(self, message: str, /, **values: object) -> str:
        return self.language.gettext(message, **values)

    def ngettext(self, one: str, many: str, count: int, /, **values: object) -> str:
        return self.language.ngettext(one, many, count, **values)

    def show(self, template: str, *, status: int = 200, **context: object) -> Shown:
        return Shown(template=template, context=context, status=status)

    def redirect(self, to: str, *, notice: str | None = None) -> Redirect:
        """Go on with a GET. `to` is an address of ours, made by `url_for`."""
        return Redirect(to=to, notice=notice)

    def rule(self, error: InvalidInput) -> str:
        """What is wrong with a field, in the reader's language; our settings are the operator's alone."""
        is_customer = self.principal.account_id is not None
        message = error.told_outside if isinstance(error, NotAllowed) and is_customer else error.message
        return translate_rule(self.language, message)


Handler = Callable[[Any], Awaitable[Answer | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path. `missing` is what a reader is told where the handler answers None: a 404."""

    method: str
    path: str
    scope: Scope
    missing: str | None
    query: type[BaseModel]
    handler: Handler


def route(method: str, path: str, scope: Scope, *, missing: str | None = None) -> Callable[[Handler], Route]:
    """Makes a Route of `async def handler(page: Page[Query]) -> Answer | None`. A GET changes nothing."""

    def decorate(handler: Handler) -> Route:
        (query,) = get_args(get_type_hints(handler)["page"])
        return Route(method=method, path=path, scope=scope, missing=missing, query=query, handler=handler)

    return decorate
