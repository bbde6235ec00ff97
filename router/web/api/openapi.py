"""The OpenAPI 3.1 document, made from the endpoints and the types that they take and give. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal

from openapi_pydantic import (
    Components,
    Header,
    Info,
    MediaType,
    OpenAPI,
    Operation,
    Parameter,
    PathItem,
    Reference,
    RequestBody,
    Response,
    Schema,
    SecurityScheme,
    Tag,
)
from pydantic import BaseModel, TypeAdapter

from router import __version__
from router.domain.event import MAX_ID_LENGTH
from router.web.api.catalogue import ENDPOINTS
from router.web.api.endpoints import Endpoint
from router.web.api.params import CONTROL_FREE
from router.web.problems import CONTENT_TYPE, KINDS, RETRY_AFTER_SECONDS, TYPE_PREFIX, Problem

JsonSchema = dict[str, Any]

_SECURITY: Final = "token"
_COMPONENT: Final = "#/components/schemas/{model}"
_TAGS: Final[Mapping[str, str]] = {
    "webhooks": "Definitions: where events go, and under which conditions.",
    "deliveries": "One event for one webhook, with the log of its attempts.",
    "replays": "Many deliveries, or events that matched nothing, sent again.",
    "events": "What was received from the platform.",
    "calls": "The events of one conversation.",
    "accounts": "The switch of each account.",
    "search": "Anything by whatever is at hand.",
    "health": "What fails and what waits.",
    "dead-letters": "Messages that could not be understood.",
    "audit": "Who saw or changed what.",
    "tokens": "Who may use the API, and for what.",
    "operations": "For those who run the router. Needs no token.",
}
_DESCRIPTION: Final = """\
Times are RFC 3339, UTC, to the millisecond. Lists are newest first: follow `next_cursor` until it is null. Errors are
problem documents (RFC 9457) whose `type` names the kind and whose `errors` name each wrong parameter or field.

A token has scopes: `read`, `replay`, `manage`, and `admin`, which allows everything. A token of one account sees that
account only: lists are narrowed to it, and what belongs to another account, or to none as dead letters do, is a 404.
"""
_BEARER: Final = "`whr_…`, made by `POST /v1/tokens` or `webhook-router tokens create`; or `api.admin_token`."
_ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("A parameter, the path or the body is wrong.", "limit: must be less than or equal to 200"),
    401: ("No token, or one that is not known, expired or revoked.", "send the header 'Authorization: Bearer <token>'"),
    403: ("The token does not have the scope.", "the token does not have the scope manage"),
    404: ("There is no such object, or it is another account's.", "no delivery has this id"),
    409: ("Others change the same object at this moment.", "webhook wh_crm is being changed by others; try again"),
    412: ("The object is no longer what `If-Match` says.", "webhook wh_crm is no longer what you have seen"),
    413: ("The body is longer than 1 MiB.", "the body is longer than 1 MiB"),
    415: ("The body is not `application/json`.", "the body must be application/json"),
    429: ("Too many requests of this token or address.", "too many requests; try again in 2 s"),
    503: ("The store does not answer now.", "MongoDB does not answer (ServerSelectionTimeoutError); try again later"),
}
"""What each error means, and the `detail` of its example."""

# Paths that are no endpoints of the API: summary, and the answers by status with their media type.
_OPERATIONS: Final[Mapping[str, tuple[str, Mapping[int, tuple[str, str]]]]] = {
    "/openapi.json": ("Show this document.", {200: ("The document.", "application/json")}),
    "/livez": (
        "Say that the process answers and its work moves.",
        {
            200: ("It does.", "application/json"),
            503: ("It stands still.", "application/json"),
        },
    ),
    "/readyz": (
        "Say whether the router can do its work.",
        {200: ("It can.", "application/json"), 503: ("It cannot; the checks say why.", "application/json")},
    ),
    "/metrics": ("Show the metrics for Prometheus.", {200: ("The metrics.", "text/plain")}),
}
_PACED: Final[Mapping[str, Sequence[int]]] = {"/openapi.json": (429,)}
"""What of these else may be answered: probes are never made to wait."""
_IF_MATCH: Final = Parameter.model_validate(
    {
        "name": "If-Match",
        "in": "header",
        "description": "The `ETag` of the answer in which the object was seen: where it is another one by now, nothing"
        " is done (412). `*`, or nothing: whatever it is now.",
        "schema": {"type": "string"},
    }
)
_ETAG: Final = "Names what the object is now, without its counts and its state: for `If-Match`."
_VERBOSE: Final = Parameter.model_validate(
    {
        "name": "verbose",
        "in": "query",
        "description": "List the checks even where all is well; needs no value.",
        "allowEmptyValue": True,
        "schema": {"type": "string"},
    }
)


def openapi_document(endpoints: Sequence[Endpoint] = ENDPOINTS) -> JsonSchema:
    """The document as plain JSON values."""
    queries, schemas = _schemas(endpoints)
    paths: dict[str, PathItem] = {}
    for endpoint in endpoints:
        item = paths.setdefault(endpoint.path, PathItem())
        setattr(item, endpoint.method.lower(), _operation(endpoint, queries[endpoint.query]))
    for path in _OPERATIONS:
        paths[path] = PathItem(get=_plain_operation(path))
    document = OpenAPI(
        openapi="3.1.0",
        info=Info(title="webhook-router", version=__version__, description=_DESCRIPTION),
        tags=[Tag(name=name, description=text) for name, text in _TAGS.items()],
        paths=paths,
        components=Components(
            schemas={name: Schema.model_validate(schema) for name, schema in schemas.items()},
            responses={KINDS[status]: _error(status) for status in _ERRORS},
            securitySchemes={_SECURITY: SecurityScheme(type="http", scheme="bearer", description=_BEARER)},
        ),
    )
    # Only what was set: the defaults of a query parameter are not allowed on one in the path.
    return document.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


# --- operations ------------------------------------------------------------------------------------


def _operation(endpoint: Endpoint, query: JsonSchema) -> Operation:
    return Operation(
        operationId=_name(endpoint),
        summary=endpoint.summary.rstrip("."),
        description=_with_scope(endpoint),
        tags=[_tag(endpoint.path)],
        parameters=[
            *_path_parameters(endpoint.path),
            *_query_parameters(query),
            *([_IF_MATCH] if endpoint.conditional else []),
        ],
        requestBody=_request_body(endpoint),
        responses=_answers(endpoint) | _errors(_error_statuses(endpoint)),
        security=[{_SECURITY: [endpoint.scope.value]}],
    )


def _plain_operation(path: str) -> Operation:
    summary, answers = _OPERATIONS[path]
    return Operation(
        operationId="get_" + re.sub(r"\W", "_", path.strip("/")),
        summary=summary.rstrip("."),
        tags=["operations"],
        parameters=[_VERBOSE] if path == "/readyz" else [],
        responses={
            str(status): Response(description=text, content={media_type: MediaType()})
            for status, (text, media_type) in answers.items()
        }
        | _errors(_PACED.get(path, ())),
        security=[],
    )


def _name(endpoint: Endpoint) -> str:
    return getattr(endpoint.handler, "__name__", "")


def _with_scope(endpoint: Endpoint) -> str:
    needs = f"Needs the scope `{endpoint.scope.value}`."
    return f"{endpoint.description}\n\n{needs}" if endpoint.description else needs


def _tag(path: str) -> str:
    return path.split("/")[2]


def _path_parameters(path: str) -> list[Parameter | Reference]:
    text = "Percent-encoded where it holds '/' or other reserved characters."
    schema = {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH, "pattern": CONTROL_FREE}
    return [
        Parameter.model_validate({"name": name, "in": "path", "required": True, "description": text, "schema": schema})
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(query: JsonSchema) -> list[Parameter | Reference]:
    required = query.get("required", ())
    return [
        Parameter.model_validate(
            {
                "name": name,
                "in": "query",
                "required": name in required,
                "description": schema.get("description"),
                "schema": _parameter_schema(schema),
            }
        )
        for name, schema in query.get("properties", {}).items()
    ]


def _parameter_schema(schema: JsonSchema) -> JsonSchema:
    """A parameter that is not given is absent: null, which the model has for that, cannot be sent."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    described = {"description", "title", "anyOf"} | ({"default"} if schema.get("default") is None else set())
    rest = {key: value for key, value in schema.items() if key not in described}
    return rest | (choices[0] if choices else {})


def _request_body(endpoint: Endpoint) -> RequestBody | None:
    if endpoint.body is None:
        return None
    content = {"application/json": MediaType(media_type_schema=_ref(endpoint.body))}
    return RequestBody(required=endpoint.needs_body, content=content)


def _answers(endpoint: Endpoint) -> dict[str, Response | Reference]:
    if endpoint.answer is None:
        return {str(endpoint.status): Response(description="Done.")}
    kinds = {endpoint.status: endpoint.answer}
    if endpoint.previews is not None:
        kinds[200] = endpoint.previews
    headers: dict[str, Header | Reference] | None = None
    if endpoint.tagged:
        headers = {"ETag": _header("string", '"8f3c0b6a4d5e2f719c0a1b2d3e4f5a6b"', _ETAG)}
    return {
        str(status): Response(
            description=HTTPStatus(status).phrase,
            content={"application/json": MediaType(media_type_schema=_ref(kind))},
            headers=headers,
        )
        for status, kind in sorted(kinds.items())
    }


# --- errors ----------------------------------------------------------------------------------------


def _error_statuses(endpoint: Endpoint) -> Iterable[int]:
    # 404 everywhere: it may all be another account's.
    yield from (400, 401, 403, 404)
    if endpoint.may_conflict:
        yield 409
    if endpoint.conditional:
        yield 412
    if endpoint.body is not None:
        yield from (413, 415)
    yield from (429, 503)


def _errors(statuses: Iterable[int]) -> dict[str, Response | Reference]:
    return {str(status): _reference(f"#/components/responses/{KINDS[status]}") for status in statuses}


def _error(status: int) -> Response:
    text, detail = _ERRORS[status]
    field, _, message = detail.partition(": ")
    example = {
        "type": TYPE_PREFIX + KINDS[status],
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "errors": [{"field": field, "message": message}] if status == 400 else [],
    }
    content = {CONTENT_TYPE: MediaType(media_type_schema=_ref(Problem), example=example)}
    return Response(description=text, content=content, headers=_error_headers(status))


def _error_headers(status: int) -> dict[str, Header | Reference] | None:
    match status:
        case 401:
            return {"WWW-Authenticate": _header("string", "Bearer")}
        case 403:
            return {"WWW-Authenticate": _header("string", 'Bearer error="insufficient_scope", scope="manage"')}
        case 429:
            return {"Retry-After": _header("integer", 2)}
        case 503:
            return {"Retry-After": _header("integer", RETRY_AFTER_SECONDS)}
        case _:
            return None


def _header(kind: Literal["string", "integer"], example: object, description: str | None = None) -> Header:
    schema = Schema.model_validate({"type": kind})
    return Header(param_schema=schema, example=example, description=description)


# --- schemas ---------------------------------------------------------------------------------------


def _schemas(endpoints: Sequence[Endpoint]) -> tuple[dict[type[BaseModel], JsonSchema], dict[str, JsonSchema]]:
    """The schema of each query string, and the components that answers and bodies refer to by name."""
    queries = list(dict.fromkeys(endpoint.query for endpoint in endpoints))
    bodies = list(dict.fromkeys(endpoint.body for endpoint in endpoints if endpoint.body is not None))
    answers = list(
        dict.fromkeys(
            [
                *(endpoint.answer for endpoint in endpoints if endpoint.answer),
                *(endpoint.previews for endpoint in endpoints if endpoint.previews),
                Problem,
            ]
        )
    )
    kinds: list[tuple[Any, Literal["validation", "serialization"]]] = [
        *((kind, "validation") for kind in [*queries, *bodies]),
        *((kind, "serialization") for kind in answers),
    ]
    _, document = TypeAdapter.json_schemas(
        [(kind.__name__, mode, TypeAdapter(kind)) for kind, mode in kinds], ref_template=_COMPONENT
    )
    components: dict[str, JsonSchema] = document["$defs"]
    return {query: components.pop(query.__name__) for query in queries}, components


def _ref(kind: Any) -> Reference:
    return _reference(_COMPONENT.format(model=kind.__name__))


def _reference(target: str) -> Reference:
    return Reference.model_validate({"$ref": target})
