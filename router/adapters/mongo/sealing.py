"""Where secrets are in a webhook's document, and how they are sealed and opened there. Documents in and out; touches
nothing. This is the one list of sealed fields: whatever reads or writes a definition goes through here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from router.adapters.mongo.documents import Document, StoredDocument
from router.domain.definition import check_account_id
from router.domain.errors import InvalidInput
from router.domain.sealed import SEALED_PREFIX, is_sealed
from router.domain.webhook import WebhookId
from router.ports import Place, Vault

_EACH: Final = "[]"
"""Step of a path: every item of a list. They all belong to the field that the list is in."""
_ANY: Final = "*"
"""Step of a path: every name of an object."""
_Path = tuple[str, ...]
_Visit = Callable[[str, str], str]
"""Takes the name of a field and the text in it; returns the text that is to be there."""

SEALED_FIELDS: Final[Mapping[str, tuple[_Path, ...]]] = {
    "secret": ((), (_EACH,), (_EACH, "value")),
    "signing_key": ((),),
    "headers": ((_ANY,),),
    "auth": (("password",), ("token",), ("client_secret",)),
    "client_certificate": (("key",),),
}
"""By the document's own field: the paths from it to its secret texts. What is not there is passed over."""


def opened(document: StoredDocument, vault: Vault) -> tuple[StoredDocument, list[InvalidInput]]:
    """The document with its secrets opened, and what could not be: such a value is empty, and its entry names the
    field."""
    account_id, webhook_id = document.get("account_id"), WebhookId(str(document["_id"]))
    problems: list[InvalidInput] = []

    def open_one(field: str, text: str) -> str:
        if not is_sealed(text):
            return text
        try:
            return vault.open(text, _place(account_id, webhook_id, field))
        except InvalidInput:  # the account, which is told with the rest of the definition
            return ""
        except ValueError as error:
            problems.append(InvalidInput(field, str(error)))
            return ""

    changed = rewritten(document, open_one)
    return ({**document, **changed} if changed else document), problems


def sealed(document: StoredDocument, vault: Vault) -> Document:
    """A definition, or the parts of one that are to be written beside its `_id` and `account_id`, with every secret
    sealed. Raises InvalidInput where somebody wrote a secret that looks sealed."""
    account_id, webhook_id = document["account_id"], WebhookId(str(document["_id"]))

    def seal_one(field: str, text: str) -> str:
        # Stored as it is, it would be taken for a sealed one; and nobody has such a secret.
        if is_sealed(text):
            raise InvalidInput(field, f"must not begin with {SEALED_PREFIX!r}")
        return vault.seal(text, _place(account_id, webhook_id, field))

    return {**document, **rewritten(document, seal_one)}


def resealed(document: StoredDocument, vault: Vault, *, plain_only: bool) -> Document:
    """The fields to be written so that every secret is sealed with the vault's first key; none where all are.

    What cannot be opened stays, and so does everything where the account cannot be read: what is bound to it
    could not be opened once the account is mended.
    """
    account_id, webhook_id = document.get("account_id"), WebhookId(str(document["_id"]))
    current = f"{SEALED_PREFIX}{vault.key_ids[0]}:"

    def reseal_one(field: str, text: str) -> str:
        if text.startswith(current) or (plain_only and is_sealed(text)):
            return text
        try:
            place = _place(account_id, webhook_id, field)
            return vault.seal(vault.open(text, place), place)
        except (InvalidInput, ValueError):
            return text

    return rewritten(document, reseal_one)


def secrets_in(document: StoredDocument) -> Iterator[tuple[str, str]]:
    """Every secret of a document as it is stored, with the name of its field."""
    found: list[tuple[str, str]] = []

    def note(field: str, text: str) -> str:
        found.append((field, text))
        return text

    rewritten(document, note)
    return iter(found)


def rewritten(document: StoredDocument, visit: _Visit) -> Document:
    """The fields of the document in which `visit` changed a text, as they are then. The document stays as it is."""
    changed: Document = {}
    for name, paths in SEALED_FIELDS.items():
        before = after = document.get(name)
        for path in paths if before is not None else ():
            after = _rewrite(after, path, name, visit)
        if after is not before:
            changed[name] = after
    return changed


def _rewrite(node: Any, path: _Path, field: str, visit: _Visit, *, in_list: bool = False) -> Any:
    """`node` with the texts at `path` as `visit` wants them; the same object where it changed none."""
    if not path:
        return visit(field, node) if isinstance(node, str) else node
    step, rest = path[0], path[1:]
    if step == _EACH:
        if not isinstance(node, list):
            return node
        items = [_rewrite(item, rest, field, visit, in_list=True) for item in node]
        return items if any(new is not old for new, old in zip(items, node, strict=True)) else node
    if not isinstance(node, Mapping):
        return node
    changed = {}
    for key in list(node) if step == _ANY else [step] if step in node else []:
        old = node[key]
        new = _rewrite(old, rest, field if in_list else f"{field}.{key.lower()}", visit)
        if new is not old:
            changed[key] = new
    return {**node, **changed} if changed else node


def _place(account_id: object, webhook_id: WebhookId, field: str) -> Place:
    return Place(account_id=check_account_id(account_id), webhook_id=webhook_id, field=field)
