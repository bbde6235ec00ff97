"""Asks the settings models about a key: is it known, is it a table, is it secret, what does it expect.
Reads model classes; touches nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

KeyPath = tuple[str | int, ...]
"""A key as steps from the root: ("sources", 0, "fields", "id")."""


def dotted(path: KeyPath) -> str:
    """`sources[0].fields.id`, as it is written in messages."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def section_of(annotation: object) -> type[BaseModel] | None:
    """The model of a table, or of one item of a list of tables; None for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is tuple:
        return section_of(get_args(annotation)[0])
    return None


def field_at(model: type[BaseModel], path: KeyPath) -> FieldInfo | None:
    """The field that `path` leads to, positions in lists passed over; None where a key is not known."""
    found: FieldInfo | None = None
    inside: type[BaseModel] | None = model
    for step in path:
        if isinstance(step, int):
            continue
        if inside is None:
            return None
        found = inside.model_fields.get(step)
        if found is None:
            return None
        inside = section_of(found.annotation)
    return found


def expectation(model: type[BaseModel], path: KeyPath) -> str:
    """What the text under the field says; a subclass that only changes a default leaves it to its base."""
    *parents, name = [step for step in path if isinstance(step, str)]
    for step in parents:
        field = model.model_fields.get(step)
        inside = section_of(field.annotation) if field else None
        if inside is None:
            return ""
        model = inside
    bases = (base for base in model.__mro__ if issubclass(base, BaseModel) and name in base.model_fields)
    texts = (base.model_fields[name].description for base in bases)
    return " ".join(next((text for text in texts if text), "").split())


def is_table(annotation: object) -> bool:
    """Whether a value of this type is one table with known keys."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def takes_json(field: FieldInfo) -> bool:
    """Whether a value of this field is a list or a table, hence JSON where only text can be given."""
    return section_of(field.annotation) is not None or get_origin(field.annotation) in {tuple, dict, list}


def is_secret(annotation: object) -> bool:
    """Whether a value of this type is secret, or holds something that is."""
    if annotation is SecretStr:
        return True
    section = section_of(annotation)
    if section is not None:
        return any(is_secret(field.annotation) for field in section.model_fields.values())
    if get_origin(annotation) in {Union, UnionType, Annotated}:
        return any(is_secret(member) for member in get_args(annotation))
    return False


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key, dotted, without positions: `api.port`, `sources.fields.id`. Tables come first."""
    for name, field in model.model_fields.items():
        yield prefix + name
        section = section_of(field.annotation)
        if section is not None:
            yield from known_keys(section, f"{prefix}{name}.")


def nearest_key(model: type[BaseModel], path: KeyPath) -> str | None:
    """The known key that was probably meant, dotted and without positions; None when none is near.

    Tried in this order: `log_format` for `log.format`, the right name in the wrong table, a name of the
    same table that is spelled alike, any key that is spelled alike.
    """
    known = {key.replace(".", "_"): key for key in known_keys(model)}
    *table, name = [step for step in path if isinstance(step, str)]
    wanted = "_".join([*table, name])
    if wanted in known:
        return known[wanted]
    namesakes = [key for key in known.values() if key.rpartition(".")[2] == name]
    if len(namesakes) == 1:
        return namesakes[0]
    siblings = {key.split(".")[-1]: key for key in known.values() if key.split(".")[:-1] == table}
    close = difflib.get_close_matches(name, siblings, n=1, cutoff=0.6)
    if close:
        return siblings[close[0]]
    close = difflib.get_close_matches(wanted, known.keys() - {"_".join(table)}, n=1, cutoff=0.8)
    return known[close[0]] if close else None
