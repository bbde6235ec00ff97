"""OAuth 2 client credentials on real sockets: the token endpoint is a customer's server like any other."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest

from router.adapters.http.tokens import MAX_TOKEN_ANSWER_BYTES
from router.domain.credentials import ClientAuthentication, OAuth2Auth
from router.domain.delivery import AttemptError
from router.domain.egress import EgressPolicy, EgressRule, parse_allow_rule
from router.domain.outcome import Answer, LocalFault, NoAnswer, SendResult
from router.ports import OutgoingRequest
from tests.support.http_server import Request, ScriptedServer, Step, answer, head, never_answer, then_close
from tests.support.sending import open_sender, outgoing

OK = Answer(status_code=200, body=b"OK", truncated=False)


def token(text: str, expires_in: int = 3600) -> bytes:
    return answer(200, f'{{"access_token":"{text}","token_type":"Bearer","expires_in":{expires_in}}}'.encode())


def auth_at(server: ScriptedServer, **changes: object) -> OAuth2Auth:
    usual = OAuth2Auth(token_url=f"{server.url}/token", client_id="router", client_secret="hush")
    return replace(usual, **changes)  # type: ignore[arg-type]  # by name, checked by the dataclass


def request_to(server: ScriptedServer, auth: OAuth2Auth, timeout_seconds: float = 60) -> OutgoingRequest:
    return outgoing(server.url, auth=auth, timeout_seconds=timeout_seconds)


def authorizations(server: ScriptedServer) -> list[str | None]:
    return [dict(request.headers).get("authorization") for request in server.requests]


async def test_the_token_goes_with_each_request_and_is_asked_for_once() -> None:
    async with ScriptedServer(token("t-1")) as endpoint, ScriptedServer() as customer, open_sender() as sender:
        request = request_to(customer, auth_at(endpoint, scope="events write"))

        assert [await sender.send(request), await sender.send(request)] == [OK, OK]

        [asked] = endpoint.requests
        headers = {name.lower(): value for name, value in asked.headers}
        assert (asked.method, asked.target) == ("POST", "/token")
        assert headers["content-type"] == "application/x-www-form-urlencoded"
        assert b64decode(headers["authorization"].removeprefix("Basic ")) == b"router:hush"
        assert dict(parse_qsl(asked.body.decode())) == {"grant_type": "client_credentials", "scope": "events write"}
        assert authorizations(customer) == ["Bearer t-1", "Bearer t-1"]


async def test_the_secret_can_go_in_the_form() -> None:
    async with ScriptedServer(token("t-1")) as endpoint, ScriptedServer() as customer, open_sender() as sender:
        auth = auth_at(endpoint, client_authentication=ClientAuthentication.POST)

        assert await sender.send(request_to(customer, auth)) == OK

        [asked] = endpoint.requests
        assert dict(parse_qsl(asked.body.decode()))["client_secret"] == "hush"
        assert authorizations(endpoint) == [None]


async def test_fifty_deliveries_at_once_ask_once() -> None:
    async with ScriptedServer(token("t-1")) as endpoint, ScriptedServer() as customer, open_sender() as sender:
        request = request_to(customer, auth_at(endpoint))

        assert await asyncio.gather(*(sender.send(request) for _ in range(50))) == [OK] * 50

        assert len(endpoint.requests) == 1
        assert len(customer.requests) == 50


async def test_after_a_401_the_next_attempt_has_another_token() -> None:
    async with (
        ScriptedServer(token("t-1"), token("t-2")) as endpoint,
        ScriptedServer(answer(401, b"no"), answer()) as customer,
        open_sender() as sender,
    ):
        request = request_to(customer, auth_at(endpoint))

        refused = await sender.send(request)
        assert isinstance(refused, Answer)
        assert refused.status_code == 401
        assert await sender.send(request) == OK

        assert authorizations(customer) == ["Bearer t-1", "Bearer t-2"]


async def test_a_token_whose_time_is_over_is_renewed() -> None:
    endpoint = ScriptedServer(token("t-1", expires_in=0), token("t-2"))
    async with endpoint, ScriptedServer() as customer, open_sender() as sender:
        request = request_to(customer, auth_at(endpoint))

        for _ in range(3):
            assert await sender.send(request) == OK

        assert authorizations(customer) == ["Bearer t-1", "Bearer t-2", "Bearer t-2"]


FAILURES = {
    "refuses us": (
        answer(401, b'{"error":"invalid_client"}'),
        AttemptError.HTTP_STATUS,
        "answered 401, invalid_client",
    ),
    "is gone": (answer(410), AttemptError.HTTP_STATUS, "answered 410"),
    "leads elsewhere": (answer(302, headers={"location": "http://127.0.0.1/"}), AttemptError.REDIRECT, "answered 302"),
    "talks": (answer(200, b"hush"), AttemptError.PROTOCOL, "its answer holds no access_token that can be sent"),
    "never ends": (
        answer(200, b"{" + b" " * MAX_TOKEN_ANSWER_BYTES),
        AttemptError.PROTOCOL,
        "its answer was cut off, or is too long",
    ),
    "stops in the middle": (
        then_close(head(200, {"content-length": "500"}) + b'{"access_token":"hush"}'),
        AttemptError.PROTOCOL,
        "its answer was cut off, or is too long",
    ),
    "is no HTTP": (then_close(b"hush\r\n\r\n"), AttemptError.PROTOCOL, "the answer is not valid HTTP"),
    "hangs up": (then_close(b""), AttemptError.CONNECTION_RESET, "closed without an answer"),
}


@pytest.mark.parametrize(("step", "error", "said"), FAILURES.values(), ids=FAILURES)
async def test_a_failure_of_the_endpoint_is_the_attempts_failure(step: Step, error: AttemptError, said: str) -> None:
    async with ScriptedServer(step) as endpoint, ScriptedServer() as customer, open_sender() as sender:
        result = await sender.send(request_to(customer, auth_at(endpoint)))

        assert isinstance(result, NoAnswer)
        assert (result.error, result.note) == (error, result.detail)
        assert result.detail.startswith(f"token endpoint: {said}")
        assert "hush" not in result.detail
        assert customer.requests == []


async def test_waiting_for_the_token_counts_in_the_attempts_time() -> None:
    async with ScriptedServer(never_answer) as endpoint, ScriptedServer() as customer, open_sender() as sender:
        result = await sender.send(request_to(customer, auth_at(endpoint), timeout_seconds=0.2))

        assert isinstance(result, NoAnswer)
        assert result.error is AttemptError.TIMEOUT
        assert customer.requests == []


async def test_an_endpoint_that_nobody_listens_at_is_named_as_such() -> None:
    async with ScriptedServer() as gone:
        auth = auth_at(gone)
    async with ScriptedServer() as customer, open_sender() as sender:
        result = await sender.send(request_to(customer, auth))

    assert isinstance(result, NoAnswer)
    assert result.error is AttemptError.CONNECTION_REFUSED


@pytest.mark.parametrize("host", ["127.0.0.2", "[::ffff:127.0.0.2]", "0.0.0.0"])
async def test_an_endpoint_inside_is_not_dialled(host: str) -> None:
    """The customer types its URL, so it has the same gate; a listener at the address sees no connection."""
    refusals: list[EgressRule] = []
    async with (
        ScriptedServer(token("t-1"), host="127.0.0.2") as inside,
        ScriptedServer() as customer,
        open_sender(on_refusal=refusals.append) as sender,
    ):
        auth = OAuth2Auth(token_url=f"http://{host}:{inside.port}/", client_id="router", client_secret="hush")

        result = await sender.send(request_to(customer, auth))

        assert isinstance(result, NoAnswer)
        assert result.error is AttemptError.BLOCKED_ADDRESS
        assert result.note == "token endpoint: its address is not allowed"
        assert inside.connections == []
        assert customer.requests == []
        assert len(refusals) == 1


async def test_an_endpoint_without_tls_is_refused_where_https_is_required() -> None:
    policy = EgressPolicy(allow=(parse_allow_rule("127.0.0.1"),), require_https=True)
    async with ScriptedServer(token("t-1")) as endpoint, open_sender(policy) as sender:
        result = await sender.send(outgoing("https://127.0.0.1:1/", auth=auth_at(endpoint)))

        assert isinstance(result, NoAnswer)
        assert result.error is AttemptError.BLOCKED_ADDRESS
        assert endpoint.connections == []


async def test_closing_ends_those_who_wait_for_a_token_as_a_fault_of_ours() -> None:
    async with ScriptedServer(never_answer) as endpoint, ScriptedServer() as customer, open_sender() as sender:
        request = request_to(customer, auth_at(endpoint))
        waiting = [asyncio.create_task(sender.send(request)) for _ in range(3)]
        await endpoint.received(1)

        await sender.close()

        results: list[SendResult] = await asyncio.gather(*waiting)
        assert results == [LocalFault(detail="shutting down")] * 3


async def test_the_token_of_one_webhook_is_not_that_of_another() -> None:
    def route(request: Request) -> Step:
        return token(
            b64decode(dict(request.headers)["authorization"].removeprefix("Basic ")).decode().partition(":")[0]
        )

    async with ScriptedServer(route=route) as endpoint, ScriptedServer() as customer, open_sender() as sender:
        for webhook_id in ("wh_a", "wh_b"):
            auth = auth_at(endpoint, client_id=webhook_id)
            assert await sender.send(outgoing(customer.url, auth=auth, webhook_id=webhook_id)) == OK

        assert authorizations(customer) == ["Bearer wh_a", "Bearer wh_b"]
