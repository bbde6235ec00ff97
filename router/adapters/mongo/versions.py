"""Versions of stored definitions, and filters that find a document only as it was read. Documents in; touches nothing.

A version is a digest of what is stored, because the back office changes definitions without a word. It is shown to
whoever may read, so it must not help to guess a secret: see `version_of`.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final

import bson

from router.adapters.mongo.documents import Document, StoredDocument
from router.adapters.mongo.sealing import SEALED_FIELDS, opened, rewritten
from router.domain.sealed import is_sealed
from router.domain.signing import parse_secret, read_entries
from router.ports import Vault

VERSION_LENGTH: Final = 32
"""Hexadecimal digits."""
MIN_KEY_BYTES: Final = 24
"""Of a secret that nobody guesses: the specification of the signatures asks for that many."""
DEFINED: Final = (
    *("account_id", "name", "url", "event_type", "enabled", "restrict_to"),
    *SEALED_FIELDS,
)
"""What a definition says."""
WEBHOOK_FIELDS: Final[Document] = dict.fromkeys((*DEFINED, "created_at", "updated_at"), 1)
"""What is read of a definition."""


def version_of(document: StoredDocument, vault: Vault) -> str:
    """The version of a webhook's document, read with WEBHOOK_FIELDS. Sealing it, or sealing it anew, changes nothing.

    The webhook's own key keeps the digest from telling anything of its weaker secrets. Where it has none, those that
    are stored plain are left out.
    """
    plain, shut = opened(document, vault)
    parts: list[StoredDocument]
    if not _has_key(plain):
        parts = [{**document, **rewritten(document, lambda _, text: text if is_sealed(text) else "")}]
    else:
        parts = [plain, document] if shut else [plain]
    digest = sha256()
    for part in parts:
        digest.update(bson.encode({name: part[name] for name in ("_id", *WEBHOOK_FIELDS) if name in part}))
    return digest.hexdigest()[:VERSION_LENGTH]


def _has_key(plain: StoredDocument) -> bool:
    """Whether there is a secret that nobody guesses."""
    try:
        keys = [parse_secret(entry.value) for entry in read_entries(plain.get("secret"))]
    except ValueError:
        return False
    return any(len(key) >= MIN_KEY_BYTES for key in keys)


def as_it_is(document: StoredDocument, names: Iterable[str] = DEFINED) -> Document:
    """Matches the document as long as these fields of it are those that were read."""
    as_read = {name: exactly(document[name]) if name in document else {"$exists": False} for name in names}
    return {"_id": document["_id"], **as_read}


def exactly(value: Any) -> Any:
    """A condition that only this very value meets: a plain one would also be found inside a list."""
    return {"$eq": value} if isinstance(value, list) else {"$eq": value, "$not": {"$type": "array"}}
