"""Exporting and erasing from the command line, beside a router that runs: what is erased is not sent any more."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.events import make_event
from tests.support.http_server import ScriptedServer, answer
from tests.support.router_process import Platform, RouterProcess

NUMBER = "06 39 98 77 66"
SAME = "+33639987766"


async def test_a_number_is_exported_erased_and_not_sent_any_more(own_platform: Platform, tmp_path: Path) -> None:
    own_platform.private |= {SAME[3:], NUMBER[3:]}
    account = own_platform.enable_account()
    settings = {"ROUTER_LOG__HASH_KEY": "k3y-of-the-tests", "ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS": "[60]"}
    async with (
        ScriptedServer(answer(200, f"thanks for {SAME}".encode()), answer(503)) as server,
        RouterProcess(own_platform, tmp_path, **settings) as router,
    ):
        own_platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        event, waiting = make_event(account), make_event(account)
        for each in (event, waiting):
            each["data"]["caller"]["number"] = SAME
            await own_platform.publish(each)
            await router.delivery(event_id=each["id"], is_so=lambda delivery: delivery["attempt_count"] == 1)

        out = tmp_path / "export.jsonl"
        await router.command("privacy", "export", "--number", NUMBER, "--output", str(out))
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        assert {line["id"] for line in lines} == {event["id"], waiting["id"]}
        assert all(SAME in line["payload"] for line in lines)
        assert out.stat().st_mode & 0o777 == 0o600

        counted = json.loads(await router.command("privacy", "erase", "--number", NUMBER, "--dry-run", "--json"))
        assert (counted["events"], counted["deliveries"]) == (2, 2)
        assert await router.deliveries(number=NUMBER)
        await router.command("privacy", "erase", "--number", NUMBER, "--yes", "--json")

        assert await router.deliveries(number=NUMBER) == []
        delivered = await router.delivery(event_id=event["id"])
        assert (delivered["status"], delivered["payload"]) == ("delivered", None)
        assert delivered["attempts"][0]["response_body"] is None
        ended = await router.delivery(event_id=waiting["id"])
        assert (ended["status"], ended["reason"], ended["payload"]) == ("expired", "too_old", None)

        entries = (await router.api("/v1/audit", action="privacy.erased"))["items"]
        assert [entry["details"]["phase"] for entry in entries] == ["done", "begun"]
        assert len({entry["target"] for entry in entries}) == 1
        assert entries[0]["actor"].startswith("cli:")
        listed = json.loads(await router.command("audit", "list", "--since", "1d", "--json"))["items"]
        assert {"privacy.exported", "privacy.erased", "delivery.revealed"} <= {entry["action"] for entry in listed}
        assert "3998776" not in json.dumps(listed)
