"""Translates what pydantic found into Problems: plain words, where the value was written, and a hint.
Builds values; touches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from router.settings.layers import ENV_DELIMITER, ENV_PREFIX, Layer, origin_in
from router.settings.problems import HIDDEN, Problem, cut, looks_secret, shown
from router.settings.schema import KeyPath, dotted, expectation, field_at, is_secret, nearest_key
from router.settings.values import KeyedError

_WORDS: Mapping[str, str] = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of sensible size",
    "int_type": "must be a whole number",
    "list_type": "must be a list",
    "missing": "is required",
    "model_attributes_type": "must be a table",
    "model_type": "must be a table",
    "path_type": "must be a path",
    "string_type": "must be text",
    "tuple_type": "must be a list",
}
_WORDS_WITH_BOUND: Mapping[str, str] = {
    "enum": "must be {expected}",
    "greater_than": "must be more than {gt:.15g}",
    "greater_than_equal": "must be at least {ge:.15g}",
    "less_than_equal": "must be at most {le:.15g}",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "too_long": "must have at most {max_length} entries",
    "too_short": "needs {min_length} or more entries",
}


# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE_LINK = re.compile(r"^environment \w+(_SERVICE_(HOST|PORT)(_\w+)?=|_PORT=\w+://|_PORT_\d+_(TCP|UDP|SCTP)\w*=)")


def explain(error: ValidationError, layers: Sequence[Layer], model: type[BaseModel]) -> Iterator[Problem]:
    """The Problems behind an error; the values in it are shown only where they are no secret."""
    all_details = error.errors(include_url=False)
    places = {details["loc"][:end] for details in all_details for end in range(len(details["loc"]))}
    for details in all_details:
        if details["type"] == "extra_forbidden":
            yield from _explain_unknown(details["loc"], layers, model)
        elif details["type"] != "too_short" or details["loc"] not in places:
            # pydantic does not count wrong items, so that a list of them is also too short.
            yield _explain_one(details, layers, model)


def _explain_one(details: ErrorDetails, layers: Sequence[Layer], model: type[BaseModel]) -> Problem:
    cause = details.get("ctx", {}).get("error")
    path: KeyPath = details["loc"]
    value = details["input"]
    if isinstance(cause, KeyedError):
        path, value = path + cause.path, cause.value

    field = field_at(model, path)
    secret = field is not None and is_secret(field.annotation)
    missing = details["type"] == "missing" or value is None
    return Problem(
        key=dotted(path),
        value="" if missing else cut(shown(value, secret=secret)),
        origin=origin_in(layers, path, or_item=True),
        message=_message(details),
        hint=expectation(model, path),
    )


def _message(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    kind = details["type"]
    if "error" in context:
        return str(context["error"])
    if kind in _WORDS:
        return _WORDS[kind]
    if kind in _WORDS_WITH_BOUND:
        return _WORDS_WITH_BOUND[kind].format_map(context)
    return details["msg"].replace("Input should", "should").replace("String should", "should")


def _explain_unknown(path: KeyPath, layers: Sequence[Layer], model: type[BaseModel]) -> Iterator[Problem]:
    """An unknown key, in each place that has it; of an unknown table in the environment, each variable."""
    for layer in layers:
        for written in layer.written_at(path):
            _, value = layer.find(written)
            origin = layer.origin_of(written)
            nearest = nearest_key(model, written)
            meant = field_at(model, tuple(nearest.split("."))) if nearest else None
            # Nobody knows what is in it, and a misspelt secret is a secret.
            text = f"a table of {', '.join(map(str, value))}" if isinstance(value, Mapping) else shown(value)
            secret = looks_secret(dotted(written) + text) or (meant is not None and is_secret(meant.annotation))
            yield Problem(
                key=dotted(written),
                value=HIDDEN if secret else cut(text),
                origin=origin,
                message="is not a known setting",
                hint=_suggestion(nearest, origin, value),
            )


def _suggestion(nearest: str | None, origin: str, value: object) -> str:
    """The key that was probably meant, spelt as it is where the unknown one was written."""
    if _SERVICE_LINK.search(f"{origin}={value}"):
        return "Kubernetes sets it for a Service called router; enableServiceLinks: false in the pod stops that."
    if nearest is None:
        return "See config/router.toml for every setting."
    return f"Did you mean {_as_variable(nearest) if origin.startswith('environment ') else nearest}?"


def _as_variable(key: str) -> str:
    return ENV_PREFIX + key.replace(".", ENV_DELIMITER).upper()
