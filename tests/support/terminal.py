"""A terminal for tests of the command line: commands run in this process, against a store and a broker in memory."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from router.cli.app import cli
from router.cli.session import Session
from router.domain.event import AccountId, EventType
from router.domain.webhook import Webhook, WebhookId
from tests.support.fakes_manage import NOW, FakePublisher, FakeStore, dead_letter

CRM = Webhook(
    id=WebhookId("wh_crm"),
    account_id=AccountId("1042"),
    name="CRM",
    url="https://crm.example.com/hook?token=hush",
    event_type=EventType.CALL,
    enabled=True,
    headers=(("Authorization", "Bearer hush"),),
    created_at=NOW,
    updated_at=NOW,
)
ADD = "webhooks add --account 1042 --name CRM --url https://crm.example.com/hook --event-type call"


def store_with_something_in_it() -> FakeStore:
    """An account that is on, one webhook, two dead letters."""
    return FakeStore(
        accounts={AccountId("1042"): True},
        definitions={CRM.id: CRM},
        letters={"dl_1": dead_letter("dl_1"), "dl_2": dead_letter("dl_2", source="cdr", reason="no_account")},
    )


@dataclass(frozen=True)
class Terminal:
    """Runs commands against its store and its broker."""

    store: FakeStore = field(default_factory=store_with_something_in_it)
    publisher: FakePublisher = field(default_factory=FakePublisher)

    def run(self, line: str, *, stdin: bytes | None = None) -> Result:
        session = Session(open_store=lambda _: self.store.opener(), open_publisher=lambda _: self.publisher.opener())
        return CliRunner().invoke(cli, shlex.split(line), prog_name="webhook-router", obj=session, input=stdin)

    def data(self, line: str, *, stdin: bytes | None = None) -> Any:
        """What a command that succeeds prints with --json."""
        result = self.run(f"{line} --json", stdin=stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


def terminal_in(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal in a folder without a configuration file, with an environment that sets nothing."""
    monkeypatch.chdir(directory)
    for name in [name for name in os.environ if name.startswith("ROUTER_")]:
        monkeypatch.delenv(name)
    return Terminal()
