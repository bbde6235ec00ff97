"""Tokens between processes: two APIs and the command line on one store."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp

from tests.support.router_process import Platform, RouterProcess, wait_for


async def test_first_token_comes_from_the_command_line_and_its_revocation_counts_everywhere(
    own_platform: Platform, tmp_path: Path
) -> None:
    arguments = ("serve", "--role", "api")
    without_admin = {"ROUTER_API__ADMIN_TOKEN": "none"}
    async with (
        RouterProcess(own_platform, tmp_path, arguments=arguments, **without_admin) as one,
        RouterProcess(own_platform, tmp_path, arguments=arguments, **without_admin) as other,
    ):
        made = json.loads(await one.command("tokens", "create", "--name", "first", "--scope", "admin", "--json"))
        own_platform.private.add(made["token"])
        reader = await create(one, made["token"], account_id="1042")
        own_platform.private.add(reader["token"])

        async def statuses() -> list[int]:
            return [(await router.get("/v1/webhooks", token=reader["token"]))[0] for router in (one, other)]

        # Asked all the time: what both remember of it is as fresh as can be.
        assert await statuses() == [200, 200]
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {made['token']}"}) as session,
            session.delete(f"{one.api_url}/v1/tokens/{reader['id']}") as answer,
        ):
            assert answer.status == 204

        async def is_refused_by_both() -> bool:
            return await statuses() == [401, 401]

        await wait_for(is_refused_by_both)

        await one.command("tokens", "revoke", made["prefix"])

        async def is_refused() -> bool:
            return (await other.get("/v1/tokens", token=made["token"]))[0] == 401

        await wait_for(is_refused)
        _, metrics = await other.get("/metrics")
        assert 'webhook_router_api_denied_total{reason="revoked"}' in metrics
    actions = [entry["action"] for entry in own_platform.database["audit"].find().sort("at")]
    assert actions == ["token.created", "token.created", "token.revoked", "token.revoked"]


async def create(router: RouterProcess, token: str, *, account_id: str) -> dict[str, str]:
    """A token that reads one account, made over the API."""
    draft = {"name": "second", "scopes": ["read"], "account_id": account_id}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.post(f"{router.api_url}/v1/tokens", json=draft) as answer,
    ):
        assert answer.status == 201
        made: dict[str, str] = await answer.json()
        return made
