"""What a running router proves itself with to customers: signatures over a rotation, access tokens; and that its log
has none of it."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook as Verifier

from tests.support.events import make_event
from tests.support.http_server import Request, ScriptedServer, answer
from tests.support.router_process import Platform, RouterProcess

OLD_SECRET = "whsec_" + b64encode(b"0123456789abcdef0123456789abcdef").decode()
AUTH = {"type": "oauth2", "client_id": "router", "client_secret": "hush-client-secret"}


def verifies(secret: str, request: Request) -> bool:
    headers = {name: request.header(name) or "" for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
    Verifier(secret).verify(request.body, headers)
    return True


async def test_after_a_rotation_both_secrets_sign_and_the_ed25519_key_too(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    webhook_id = platform.define_webhook(account, to=server.url, secret=OLD_SECRET)
    secret = json.loads(await router.command("webhooks", "rotate-secret", webhook_id, "--json"))["secret"]
    shown = json.loads(await router.command("webhooks", "rotate-secret", webhook_id, "--asymmetric", "--json"))
    await router.takes_up_definitions()

    await platform.publish(make_event(account))

    (request,) = await server.received(1)
    signatures = (request.header("webhook-signature") or "").split()
    assert [entry.partition(",")[0] for entry in signatures] == ["v1", "v1", "v1a"]
    assert verifies(secret, request)
    assert verifies(OLD_SECRET, request)
    public = Ed25519PublicKey.from_public_bytes(b64decode(shown["signing"]["public_key"].removeprefix("whpk_")))
    signed = f"{request.header('webhook-id')}.{request.header('webhook-timestamp')}.".encode() + request.body
    public.verify(b64decode(signatures[-1].removeprefix("v1a,")), signed)
    assert secret.removeprefix("whsec_") not in router.log


async def test_an_access_token_goes_with_the_event_and_into_no_log(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    token = answer(200, b'{"access_token":"hush-access-token","token_type":"Bearer","expires_in":3600}')
    async with ScriptedServer(token) as endpoint:
        platform.define_webhook(account, to=server.url, auth={**AUTH, "token_url": f"{endpoint.url}/token"})
        await router.takes_up_definitions()

        event = make_event(account)
        await platform.publish(event)

        (request,) = await server.received(1)
        assert request.header("authorization") == "Bearer hush-access-token"
        assert (await router.delivery(event_id=event["id"]))["status"] == "delivered"
    assert "hush" not in router.log


async def test_a_token_endpoint_that_refuses_is_named_in_the_attempt(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    async with ScriptedServer(answer(401, b'{"error":"invalid_client"}')) as endpoint:
        platform.define_webhook(account, to=server.url, auth={**AUTH, "token_url": f"{endpoint.url}/token"})
        await router.takes_up_definitions()

        event = make_event(account)
        await platform.publish(event)

        await endpoint.received(1)
        delivery = await router.delivery(event_id=event["id"], is_so=lambda found: found["attempt_count"] > 0)
    attempt = delivery["attempts"][0]
    assert (attempt["error"], attempt["status_code"]) == ("http_status", None)
    assert attempt["response_body"] == "token endpoint: answered 401, invalid_client"
    assert server.requests == []
    assert "hush" not in router.log
