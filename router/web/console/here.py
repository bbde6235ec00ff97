"""Where a reader is: the page's address, who reads it, for which account. What the frame around every page knows.

Builds addresses; touches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlencode

from router.domain.principal import Principal, Scope
from router.web.console.language import N_

PREFERENCES: Final = frozenset({"lang", "zone"})
"""Parameters of every page, remembered in cookies."""


def url_for(path: str, /, **values: object) -> str:
    """An address of ours: `url_for("/webhooks/{id}", id=…, account=…)`. What is not in the path goes into the query;
    None is left out."""
    names = set(re.findall(r"{(\w+)}", path))
    filled = re.sub(r"{(\w+)}", lambda match: quote(str(values[match[1]]), safe=""), path)
    query = [(name.rstrip("_"), value) for name, value in values.items() if name not in names and value is not None]
    return filled + ("?" + urlencode(query, doseq=True) if query else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the navigation."""

    path: str
    label: str
    icon: str

    @property
    def section(self) -> str:
        return self.path.strip("/")


NAVIGATION: Final = (
    Entry(path="/webhooks", label=N_("Webhooks"), icon="webhook"),
    Entry(path="/deliveries", label=N_("Deliveries"), icon="deliveries"),
    Entry(path="/search", label=N_("Search"), icon="search"),
    Entry(path="/replays", label=N_("Replays"), icon="replay"),
    Entry(path="/health", label=N_("Health"), icon="health"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """What templates know as `here`. `query` are the parameters of the address, without those of every page."""

    path: str
    query: Sequence[tuple[str, str]] = ()
    principal: Principal | None = None
    form_token: str = field(default="", repr=False)
    notice: str | None = None
    """What has just been done, to be said once."""

    @property
    def section(self) -> str:
        return self.path.strip("/").partition("/")[0]

    @property
    def account(self) -> str | None:
        """The account that is looked at: the principal's own, else the one in the address, else none."""
        if self.principal is not None and self.principal.account_id is not None:
            return self.principal.account_id
        return dict(self.query).get("account") or None

    @property
    def is_confined(self) -> bool:
        """Whether the principal sees one account only, so that no page need name it."""
        return self.principal is not None and self.principal.account_id is not None

    @property
    def url(self) -> str:
        return self.with_()

    def with_(self, **changes: object) -> str:
        """This page with other parameters; None takes one away."""
        changed = {name.rstrip("_") for name in changes}
        kept = [(name, value) for name, value in self.query if name not in changed]
        added = [(name.rstrip("_"), value) for name, value in changes.items() if value is not None]
        return self.path + ("?" + urlencode([*kept, *added]) if kept or added else "")

    def may(self, scope: str) -> bool:
        return self.principal is not None and self.principal.may(Scope(scope))
