"""Untrusted text of a request's path, headers and body becomes values, or a problem that names what is wrong. Pure.

A body is read twice: once by the model, which is strict about types, and once for names that come twice in an object,
of which a parser keeps one silently.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from router.domain.version import ANY, Seen
from router.web.api.params import Text, field_errors
from router.web.problems import FieldError, invalid_request

Body = TypeVar("Body", bound=BaseModel)

_ENTITY_TAGS: Final = re.compile(r'"[!#-~\x80-\xff]*"(?:[ \t]*,[ \t]*"[!#-~\x80-\xff]*")*')
"""A list of strong entity tags (RFC 9110, 8.8.3 and 13.1.1)."""
_TEXT: Final = TypeAdapter[str](Text)


def parse_segment(name: str, text: str) -> str:
    """The part of a path that stands for `{name}`. Raises a 400 that names it."""
    try:
        return _TEXT.validate_python(text)
    except ValidationError as error:
        messages = [found.message for found in field_errors(error, unknown="")]
        raise invalid_request([FieldError(field=name, message=message) for message in messages]) from None


def parse_if_match(headers: Sequence[str]) -> Seen:
    """The versions that a caller says to have seen, from If-Match. Raises a 400 that names it."""
    text = ", ".join(headers).strip()
    if text in ("", "*"):  # whatever it is
        return ANY
    if not _ENTITY_TAGS.fullmatch(text):
        hint = "must be * or the ETag of an earlier answer in its quotes; a weak one (W/) is none"
        raise invalid_request([FieldError(field="If-Match", message=hint)])
    return re.findall(r'"([^"]*)"', text)


def parse_body(model: type[Body], raw: bytes) -> Body:
    """The body as `model` has it. Raises a 400 that names every field that is wrong or given twice."""
    try:
        body = model.model_validate_json(raw)
    except ValidationError as error:
        raise invalid_request(field_errors(error, unknown="is no field of this body")) from None
    # The model has refused what is too deep or holds too large a number for a second reading.
    twice = dict.fromkeys(_twice(json.loads(raw, object_pairs_hook=_Members)))
    if twice:
        raise invalid_request([FieldError(field=field, message="is given more than once") for field in twice])
    return body


class _Members(list[tuple[str, Any]]):
    """An object's names and values as they are written."""


def _twice(value: object, path: str = "") -> Iterator[str]:
    """The paths that are written more than once."""
    if isinstance(value, _Members):
        seen = set()
        for name, inner in value:
            field = f"{path}.{name}" if path else name
            if name in seen:
                yield field
            seen.add(name)
            yield from _twice(inner, field)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _twice(inner, f"{path}[{index}]")
