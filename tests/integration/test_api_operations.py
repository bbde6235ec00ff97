"""Probes, metrics, the OpenAPI document, and the server itself."""

from __future__ import annotations

import asyncio
from datetime import datetime

import aiohttp
import pytest
from openapi_spec_validator import validate
from yarl import URL

from router.domain.errors import ConfigurationRefused
from router.web.api.openapi import openapi_document
from router.web.encoding import encode
from tests.support.api import Api, Surroundings
from tests.support.samples import dead_letter, delivery, event, webhook
from tests.support.stored import StoredThings

# --- operations ------------------------------------------------------------------------------------


async def test_readiness_is_of_all_checks_and_lists_them_when_asked_or_not_ready(
    api: Api, surroundings: Surroundings
) -> None:
    assert (await api.get("/readyz")).json == {"status": "ready"}
    verbose = await api.request("GET", "/readyz?verbose")
    checks = [{"name": "store", "ok": True}, {"name": "consumer", "ok": True}]
    assert verbose.json == {"status": "ready", "checks": checks}

    surroundings.checks["consumer"] = False
    answer = await api.get("/readyz")
    assert answer.status == 503
    assert answer.json == {"status": "not_ready", "checks": [checks[0], {"name": "consumer", "ok": False}]}
    assert (await api.get("/livez")).status == 200


async def test_liveness_ends_with_the_name_of_what_stalls(api: Api, surroundings: Surroundings) -> None:
    surroundings.stalled.append("intake")

    answer = await api.get("/livez")

    assert (answer.status, answer.json) == (503, {"status": "stalled", "stalled": ["intake"]})


async def test_metrics_are_observed_before_they_are_read(api: Api) -> None:
    answer = await api.get("/metrics")

    assert answer.headers["Content-Type"].startswith("text/plain")
    assert b"test_observed 1.0" in answer.body
    assert b"test_observed 2.0" in (await api.get("/metrics")).body


async def test_port_in_use_is_refused_in_one_sentence_that_names_the_settings(surroundings: Surroundings) -> None:
    server = surroundings.server()
    await server.start()
    other = Surroundings(database=surroundings.database).server(port=server.address[1])
    with pytest.raises(ConfigurationRefused, match=r"port \d+ .*api\.host or api\.port"):
        await other.start()
    await server.stop()
    await server.stop()


async def test_stop_lets_a_request_in_flight_finish(surroundings: Surroundings) -> None:
    server = surroundings.server()
    await server.start()
    async with aiohttp.ClientSession() as session:
        api = Api(URL.build(scheme="http", host=server.address[0], port=server.address[1]), session)
        asked = asyncio.create_task(api.request("GET", "/v1/webhooks"))
        await api.request("GET", "/livez")  # so the first has begun
        await server.stop()

        assert (await asked).status == 200


# --- the document ----------------------------------------------------------------------------------


async def test_document_is_valid_and_knows_every_route_but_those_of_the_console(surroundings: Surroundings) -> None:
    app = surroundings.app()
    document = openapi_document()

    validate(document)
    documented = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    served = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None}
    served = {(method, path) for method, path in served if method != "HEAD"}  # which goes with GET
    assert documented <= served
    assert {path for _, path in served - documented if path.startswith(("/v1", "/openapi", "/livez"))} == set()


async def test_document_is_served_as_it_is_made(api: Api) -> None:
    assert (await api.get("/openapi.json")).json == openapi_document()


async def test_document_tells_security_scopes_errors_and_examples(api: Api) -> None:
    document = (await api.get("/openapi.json")).json

    operation = document["paths"]["/v1/deliveries"]["get"]
    assert operation["security"] == [{"token": ["read"]}]
    assert "scope `read`" in operation["description"]
    assert set(operation["responses"]) == {"200", "400", "401", "403", "404", "429", "503"}
    assert document["paths"]["/livez"]["get"]["security"] == []
    limit = next(each for each in operation["parameters"] if each["name"] == "limit")
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"], limit["schema"]["default"]) == (1, 200, 50)
    problem = document["components"]["responses"]["invalid-request"]["content"]["application/problem+json"]
    assert problem["example"]["errors"][0]["field"] == "limit"
    for path, operations in document["paths"].items():
        for method, described in operations.items():
            assert described["summary"], (method, path)
            assert all(each.get("description") for each in described["parameters"]), (method, path)


async def test_document_tells_where_versions_are_given_and_heeded(api: Api) -> None:
    paths = (await api.get("/openapi.json")).json["paths"]
    operations = {
        f"{method.upper()} {path}": described
        for path, methods in paths.items()
        for method, described in methods.items()
    }

    heeding = {
        name
        for name, described in operations.items()
        if any(each["name"] == "If-Match" and each["in"] == "header" for each in described["parameters"])
    }
    giving = {
        name
        for name, described in operations.items()
        if any("ETag" in response.get("headers", {}) for response in described["responses"].values())
    }

    assert heeding == {name for name, described in operations.items() if "412" in described["responses"]}
    assert heeding - giving == {"DELETE /v1/webhooks/{id}"}
    assert giving - heeding == {"GET /v1/accounts/{id}", "GET /v1/webhooks/{id}", "POST /v1/webhooks"}
    assert giving & heeding == {
        "PUT /v1/accounts/{id}",
        "PATCH /v1/webhooks/{id}",
        "POST /v1/webhooks/{id}/resume",
        "POST /v1/webhooks/{id}/rotate-secret",
    }


async def test_objects_are_those_of_the_document(api: Api, stored: StoredThings) -> None:
    received = event(matched=["wh_crm"])
    stored.add_webhook(webhook())
    stored.add_event(received)
    stored.add_delivery(delivery(received), received.key)
    stored.add_dead_letter(dead_letter())
    schemas = (await api.get("/openapi.json")).json["components"]["schemas"]

    for target, name in [
        ("/v1/webhooks/wh_crm", "WebhookObject"),
        ("/v1/webhooks?include_total=true", "WebhookPage"),
        ("/v1/deliveries?include_total=true", "DeliveryPage"),
        (f"/v1/deliveries/{delivery(received).id}", "DeliveryDetail"),
        ("/v1/events/evt-1?account_id=1042", "EventObject"),
        ("/v1/dead-letters?include_total=true", "DeadLetterPage"),
        ("/v1/dead-letters/dl_1", "DeadLetterDetail"),
        ("/v1/accounts/1042", "AccountObject"),
        ("/v1/nothing", "Problem"),
    ]:
        answer = await api.request("GET", target)
        assert answer.json.keys() == schemas[name]["properties"].keys(), target


def test_times_are_utc_to_the_millisecond() -> None:
    assert encode({"at": datetime.fromisoformat("2026-03-01T13:00:00.0019+01:00")}) == (
        b'{"at":"2026-03-01T12:00:00.001Z"}'
    )
