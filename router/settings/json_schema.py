"""The JSON Schema of the TOML file, for editors and pipelines: what pydantic says of the models, in the words of TOML.
Builds a value from the model classes; touches nothing.

The schema knows types, bounds and names. What only a rule can say (a time zone, a grammar of paths, two keys that go
together) is left to `check-config`: what it accepts may still be wrong, what it refuses in lower case is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, SecretStr

from router.domain.event import EventType
from router.settings.loading import Settings
from router.settings.publishers import SourceFields, SourceSettings
from router.settings.schema import expectation, is_table, section_of

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

_AUTO: Final = "auto"
_WRITTEN_AS_TEXT: Final = {"ipv4network", "ipv6network"}


def config_schema() -> Schema:
    """A new document each time."""
    raw = Settings.model_json_schema()
    definitions = {name: _in_toml(each) for name, each in raw.pop("$defs").items() if name != "AllowRule"}
    schema: Schema = {"$schema": DIALECT, "title": "Settings of webhook-router", **_in_toml(raw)}
    del schema["description"]
    for model, node in _tables(Settings, schema, definitions):
        for name, field in model.model_fields.items():
            _say_default(node["properties"][name], field.default, is_table(field.annotation))
            node["properties"][name].setdefault("description", expectation(model, (name,)))
    _loosen_sources(definitions[SourceSettings.__name__], definitions[SourceFields.__name__])
    format_ = definitions["LogSettings"]["properties"]["format"]
    format_["anyOf"][-1], format_["default"] = {"const": _AUTO}, _AUTO
    return {**schema, "$defs": definitions}


def _in_toml(node: Any) -> Any:
    """A part of pydantic's schema: no titles, "none" where it has null, text where it has our own types."""
    if isinstance(node, list):
        return [_in_toml(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("$ref", "").endswith("/AllowRule") or str(node.get("format")) in _WRITTEN_AS_TEXT:
        return {"type": "string"}
    if node.get("type") == "null":
        return {"const": "none"}  # TOML has no null
    plain = {key: _in_toml(value) for key, value in node.items() if key != "title" or isinstance(value, Mapping)}
    choices = plain.get("anyOf")
    if isinstance(choices, list) and all(choice == choices[0] for choice in choices):
        del plain["anyOf"]
        plain |= choices[0]
    return plain


def _tables(
    model: type[BaseModel], node: Schema, definitions: Mapping[str, Schema]
) -> list[tuple[type[BaseModel], Schema]]:
    """Every model, and the part of the schema that is its own."""
    found = [(model, node)]
    for field in model.model_fields.values():
        section = section_of(field.annotation)
        if section is not None:
            found += _tables(section, definitions[section.__name__], definitions)
    return found


def _say_default(node: Schema, default: object, is_a_table: bool) -> None:
    """A default as it would be written. Tables have none: their keys do."""
    if "default" not in node:
        return
    shown = node["default"]
    if is_a_table or (isinstance(shown, list) and shown and isinstance(shown[0], dict)):
        del node["default"]
    elif isinstance(default, SecretStr):
        node["default"] = default.get_secret_value()  # that of the reference, for everybody to read
    elif default is None:
        node["default"] = "none"


def _loosen_sources(source: Schema, fields: Schema) -> None:
    """What is filled in may be left out, and one path need not be a list."""
    kinds = [kind.value for kind in EventType]
    del source["required"]
    source["anyOf"] = [{"required": ["name"]}, {"required": ["exchange"]}]
    source["allOf"] = [
        {
            "anyOf": [
                {"required": ["event_type"]},
                {"required": ["name"], "properties": {"name": {"enum": kinds}}},
                {"required": ["exchange"], "properties": {"exchange": {"enum": kinds}}},
            ]
        }
    ]
    for path in fields["properties"].values():
        several = {key: path.pop(key) for key in ("type", "items", "maxItems", "minItems") if key in path}
        path["anyOf"] = [{"type": "string"}, several]
