"""Binds endpoints to the server: lets the caller in, parses the request, calls the endpoint, encodes its answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel

from router.application.audit import Auditor
from router.domain.errors import OutOfSight
from router.domain.principal import Principal
from router.domain.version import ANY
from router.web.api.auth import Doorkeeper
from router.web.api.endpoints import Api, Call, Endpoint, Tagged
from router.web.api.objects import PageObject
from router.web.api.params import parse_query
from router.web.api.parsing import parse_body, parse_if_match, parse_segment
from router.web.encoding import encode
from router.web.principal import PRINCIPAL
from router.web.problems import ProblemError

JSON = "application/json"

ApiFor = Callable[[Principal], Api]
"""What endpoints work with exists only for somebody, within what they may see."""


def add_endpoints(app: web.Application, endpoints: Iterable[Endpoint], api_for: ApiFor, doorkeeper: Doorkeeper) -> None:
    for endpoint in endpoints:
        # aiohttp's own pattern would refuse braces; "/" arrives here as %2F.
        path = re.sub(r"{(\w+)}", r"{\1:[^/]+}", endpoint.path)
        if endpoint.method == "GET":
            app.router.add_get(path, _bound(endpoint, api_for, doorkeeper))  # and HEAD
        else:
            app.router.add_route(endpoint.method, path, _bound(endpoint, api_for, doorkeeper))


def _bound(endpoint: Endpoint, api_for: ApiFor, doorkeeper: Doorkeeper) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        # Here and not in a middleware that looks at paths: no spelling of a path can get around it.
        principal = request[PRINCIPAL] = await doorkeeper.admit(request, endpoint.scope)
        api = api_for(principal)
        call = Call(
            id=next((parse_segment(*part) for part in request.match_info.items()), ""),
            query=parse_query(endpoint.query, request.query),
            body=None if endpoint.body is None else await _body(endpoint.body, request, needed=endpoint.needs_body),
            principal=principal,
            audit=Auditor(trail=api.audit, actor=principal.name, now=api.now),
            seen=parse_if_match(request.headers.getall("If-Match", ())) if endpoint.conditional else ANY,
        )
        await api.catch_up()
        try:
            answer = await endpoint.handler(api, call)
        except OutOfSight:
            answer = None
        if answer is None or answer is False:
            raise ProblemError(404, endpoint.missing or "there is no such object")
        if endpoint.answer is None:
            return web.Response(status=endpoint.status)
        headers = {}
        if isinstance(answer, Tagged):
            answer, headers = answer.answer, {"ETag": f'"{answer.version}"'}
        status = 200 if type(answer) is endpoint.previews else endpoint.status
        return web.Response(status=status, body=encode(_plain(answer)), content_type=JSON, headers=headers)

    return handle


async def _body(model: type[BaseModel], request: web.Request, *, needed: bool) -> BaseModel:
    """The body as `model` has it. Raises a 400 that names every field that is wrong, 413 or 415."""
    if not needed and not request.body_exists:
        return model()
    if request.content_type != JSON:
        raise ProblemError(415, f"the body must be {JSON}; say so in the header Content-Type")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        # Nothing here inflates what a stranger has packed.
        raise ProblemError(415, "the body must not be compressed; leave the header Content-Encoding out")
    try:
        raw = await request.read()
    except web.RequestPayloadError:
        raise ProblemError(400, "the body ends early, or is not framed as its headers say") from None
    return parse_body(model, raw)


def _plain(answer: object) -> object:
    """An answer as it is encoded: a page shows its total only where it was counted."""
    if not isinstance(answer, PageObject):
        return answer
    shown = {"items": answer.items, "next_cursor": answer.next_cursor}
    return shown if answer.total is None else shown | {"total": answer.total}
