"""An error as a block for whoever operates the router: what failed, what was seen, where it is configured, what to do.
Builds text from an error and the settings; touches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from router.domain.errors import ConfigurationRefused, DependencyUnavailable, RouterError
from router.settings.loading import Setting, Settings, describe
from router.settings.problems import cut

_PEERS: Final[Mapping[str, str]] = {
    "MongoDB": "mongo.url",
    "RabbitMQ": "amqp.url",
    "embedded store": "data_dir",
    "key file": "secrets.key_file",
    "SecantusDB": "mongo.url",
}
"""What a sentence calls a peer, and the setting that says where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Nothing in it is secret. `configured` has a line for each setting that is meant: key, value and origin."""

    failed: str
    seen: str
    configured: tuple[str, ...]
    remedy: str

    def __str__(self) -> str:
        rows = [("seen", self.seen), *(("configured", line) for line in self.configured), ("to do", self.remedy)]
        lines = [f"  {label:<11} {line}" for label, text in rows if text for line in text.splitlines()]
        return "\n".join([self.failed, *lines])


def trouble_of(error: RouterError, settings: Settings | None) -> Trouble:
    """The block of an error; without `settings` it says nothing of where things are configured."""
    meant = list(_meant(str(error), describe(settings))) if settings is not None else []
    return Trouble(
        failed=error.sentence,
        seen=error.seen,
        configured=tuple(f"{each.key} = {cut(each.value)}  ({each.origin})" for each in meant),
        remedy=_remedy(error, [each.key for each in meant]),
    )


def _meant(text: str, described: list[Setting]) -> Iterator[Setting]:
    keys = [key for name, key in _PEERS.items() if name in text]
    for setting in described:
        # As a word of the sentence: by habit it names the settings that it speaks of.
        if setting.key in keys or re.search(rf"(?<![\w.]){re.escape(setting.key)}(?![\w\[])", text):
            yield setting


def _remedy(error: RouterError, keys: list[str]) -> str:
    match error:
        case ConfigurationRefused():
            return "`webhook-router doctor` says what else is wrong; `webhook-router check-config` shows every setting."
        case DependencyUnavailable() if "data_dir" in keys:
            return "Give data_dir a folder that this user may write to, on a disk with room."
        case DependencyUnavailable():
            return "Start it, or correct the setting. `webhook-router doctor` looks at each server that is meant."
        case _:
            return ""
