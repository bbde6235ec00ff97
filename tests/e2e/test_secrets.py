"""Secrets at rest, from outside: what lies in the database, what customers receive, rotation, and a missing key."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from tests.support.events import make_event
from tests.support.http_server import ScriptedServer
from tests.support.keys import key_file
from tests.support.router_process import Platform, RouterProcess, wait_for

CONFIGURATION = 78
PATIENCE_SECONDS = 30
SECRET = "whsec_" + b64encode(b"0123456789abcdef0123456789abcdef").decode()
OLD_SECRET = "whsec_" + b64encode(b"fedcba9876543210fedcba9876543210").decode()
TOKEN = "canary-of-the-customers-gateway"


def dump(platform: Platform) -> str:
    """Everything in every collection."""
    database = platform.database
    return json.dumps({name: list(database[name].find()) for name in database.list_collection_names()}, default=str)


def plain_in(platform: Platform, *secrets: str) -> list[str]:
    """Which of them can be read in the database."""
    everything = dump(platform)
    return [secret for secret in secrets if secret.removeprefix("whsec_") in everything]


async def signed(
    platform: Platform, router: RouterProcess, server: ScriptedServer, event: dict[str, Any], *secrets: str
) -> None:
    """The event arrives, with the customer's own header and a signature by each secret."""
    await platform.publish(event)
    await router.delivery(event_id=event["id"])
    request = server.requests[-1]
    headers = {name.lower(): value for name, value in request.headers}
    assert headers["x-gateway-key"] == TOKEN
    for secret in secrets:
        assert Verifier(secret).verify(request.body, headers) == event


async def test_what_was_written_plain_is_sealed_and_signs_through_a_rotation(
    own_platform: Platform, server: ScriptedServer, tmp_path: Path
) -> None:
    platform, account = own_platform, own_platform.enable_account()
    keys = key_file(tmp_path / "keys", "k1")
    platform.private.add(TOKEN)
    fields: dict[str, Any] = {"secret": [SECRET, OLD_SECRET], "headers": {"X-Gateway-Key": TOKEN}}
    webhook_id = platform.define_webhook(account, to=server.url, **fields)
    written = platform.database.webhooks.find_one({"_id": webhook_id})
    assert written is not None

    async with RouterProcess(platform, tmp_path, ROUTER_SECRETS__KEY_FILE=str(keys)) as router:
        await wait_for(lambda: not plain_in(platform, SECRET, OLD_SECRET, TOKEN))
        stored = platform.database.webhooks.find_one({"_id": webhook_id})
        assert stored is not None
        assert stored | fields == written
        await router.takes_up_definitions()
        await signed(platform, router, server, make_event(account), SECRET, OLD_SECRET)

        # A webhook of ours is sealed from the start.
        added = json.loads(
            await router.command(
                *("webhooks", "add", "--account", account, "--name", "CRM", "--url", platform.hook_url(server.url)),
                *("--event-type", "call", "--header", f"X-Gateway-Key={TOKEN}", "--json"),
            )
        )
        await router.takes_up_definitions()
        await signed(platform, router, server, make_event(account, "call"), added["secret"])
        assert (await router.webhook(added["id"]))["headers"] == {"X-Gateway-Key": "***"}

        # Sealed anew, while the router runs with the keys that it read at its start.
        key_file(tmp_path / "new", "k2", "k1").replace(keys)
        outcome = json.loads(await router.command("secrets", "rotate", "--json"))
        assert outcome == {"count": 5, "dry_run": False, "webhooks": 2, "left": 0, "unopened": 0}
        await router.takes_up_definitions()
        await signed(platform, router, server, make_event(account), SECRET, OLD_SECRET)

        assert plain_in(platform, SECRET, OLD_SECRET, TOKEN, added["secret"]) == []


@pytest.mark.parametrize("role", ["all", "worker", "api"])
async def test_no_role_starts_without_the_key_that_secrets_need(
    role: str, own_platform: Platform, tmp_path: Path
) -> None:
    platform = own_platform
    settings = {"ROUTER_SECRETS__KEY_FILE": str(key_file(tmp_path / "keys", "k1"))}
    with_key = RouterProcess(platform, tmp_path, **settings)
    add = ("webhooks", "add", "--account", "1042", "--name", "CRM", "--url", "https://crm.example/hook")
    await with_key.command(*add, "--event-type", "call")

    router = RouterProcess(platform, tmp_path, arguments=("serve", "--role", role))
    router.launch()
    assert await router.ended(within_seconds=PATIENCE_SECONDS) == CONFIGURATION, router.log

    (said,) = [line for line in map(json.loads, router.log.splitlines()) if line["level"] == "error"]
    assert said["event"] == "configuration_refused"
    assert said["error"] == (
        "webhooks have 1 secret value(s) sealed with key 'k1', and there is no key file: set secrets.key_file to the "
        "file with that key"
    )
    assert "Traceback" not in router.log


async def test_a_key_file_that_others_can_read_is_refused(own_platform: Platform, tmp_path: Path) -> None:
    keys = key_file(tmp_path / "keys", "k1")
    keys.chmod(0o644)
    router = RouterProcess(own_platform, tmp_path, ROUTER_SECRETS__KEY_FILE=str(keys))
    router.launch()

    assert await router.ended(within_seconds=PATIENCE_SECONDS) == CONFIGURATION, router.log
    assert "the key file (secrets.key_file) can be read or written by others: chmod 0400 it" in router.log


async def test_a_credential_of_systemd_is_taken_without_a_setting(
    own_platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file(tmp_path / "webhook-router.keys", "k1")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    status = json.loads(await RouterProcess(own_platform, tmp_path).command("secrets", "status", "--json"))

    assert status["active"] == "k1"
