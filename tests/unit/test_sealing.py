"""Where secrets are in a webhook's document: found, sealed and opened in every shape that a definition may have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.adapters.mongo.sealing import SEALED_FIELDS, opened, resealed, sealed, secrets_in
from router.domain.errors import InvalidInput
from router.ports import NO_KEYS
from tests.support.keys import ring

WEBHOOK = {"_id": "wh_1", "account_id": "1042"}
VAULT = ring("k2", "k1")

texts = st.text(max_size=8)
ids = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts | st.just("sealed:k1:AAAA"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.sampled_from(["value", "key"]), inner),
    max_leaves=8,
)
odd_documents = st.fixed_dictionaries(
    {"_id": json_values, "account_id": json_values}, optional=dict.fromkeys(SEALED_FIELDS, json_values)
)
definitions = st.fixed_dictionaries(
    {"_id": texts, "account_id": ids | st.integers(-(2**63), 2**63 - 1)},
    optional={
        "secret": texts | st.lists(texts | st.fixed_dictionaries({"value": texts, "expires_at": st.none()})),
        "signing_key": texts,
        "headers": st.dictionaries(texts, texts, max_size=3),
        "auth": st.fixed_dictionaries({}, optional=dict.fromkeys(("type", "username", "password", "token"), texts)),
        "client_certificate": st.fixed_dictionaries({"certificate": texts, "key": texts}),
    },
)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"secret": "a"}, [("secret", "a")]),
        ({"secret": ["a", {"value": "b", "expires_at": None}]}, [("secret", "a"), ("secret", "b")]),
        ({"signing_key": "a"}, [("signing_key", "a")]),
        ({"headers": {"X-Key": "a", "x.$y": "b"}}, [("headers.x-key", "a"), ("headers.x.$y", "b")]),
        ({"auth": {"type": "basic", "username": "u", "password": "a"}}, [("auth.password", "a")]),
        ({"auth": {"type": "bearer", "token": "a"}}, [("auth.token", "a")]),
        (
            {"auth": {"type": "oauth2", "token_url": "u", "client_id": "i", "client_secret": "a"}},
            [("auth.client_secret", "a")],
        ),
        ({"client_certificate": {"certificate": "public", "key": "a"}}, [("client_certificate.key", "a")]),
        ({"secret": None, "headers": None, "auth": None}, []),
        ({"secret": 7, "headers": ["a"], "auth": "a", "client_certificate": {"key": ["a"]}}, []),
        ({"name": "a", "url": "a"}, []),
    ],
)
def test_where_secrets_are(fields: dict[str, Any], found: list[tuple[str, str]]) -> None:
    assert list(secrets_in({**WEBHOOK, **fields})) == found


@given(definitions)
def test_what_is_sealed_opens_again_and_nothing_else_changes(definition: dict[str, Any]) -> None:
    before = json.dumps(definition)

    stored = sealed(definition, VAULT)

    assert all(text.startswith("sealed:k2:") for _, text in secrets_in(stored))
    assert opened(stored, VAULT) == (definition, [])
    assert json.dumps(definition) == before


@given(definitions)
def test_sealing_what_is_sealed_changes_nothing_and_another_key_changes_all(definition: dict[str, Any]) -> None:
    stored = sealed(definition, ring("k1"))

    assert resealed(stored, ring("k1"), plain_only=False) == {}
    assert resealed(stored, VAULT, plain_only=True) == {}
    anew = {**stored, **resealed(stored, VAULT, plain_only=False)}
    assert all(text.startswith("sealed:k2:") for _, text in secrets_in(anew))
    assert opened(anew, VAULT) == (definition, [])


@given(odd_documents)
def test_no_document_is_odd_enough_to_raise(document: dict[str, Any]) -> None:
    for vault in (VAULT, NO_KEYS):
        readable, problems = opened(document, vault)
        assert not any(text.startswith("sealed:") for _, text in secrets_in(readable))
        assert "AAAA" not in str([str(problem) for problem in problems])
    resealed(document, VAULT, plain_only=False)


def test_an_integer_account_is_the_account_of_its_decimal_text() -> None:
    stored = sealed({**WEBHOOK, "account_id": 1042, "secret": "a"}, VAULT)

    assert opened({**stored, "account_id": "1042"}, VAULT)[0]["secret"] == "a"


def test_a_header_keeps_its_secret_when_its_name_is_written_in_another_case() -> None:
    stored = sealed({**WEBHOOK, "headers": {"X-Key": "a"}}, VAULT)

    assert opened({**stored, "headers": {"x-key": stored["headers"]["X-Key"]}}, VAULT)[0]["headers"] == {"x-key": "a"}


def test_what_cannot_be_opened_is_empty_and_named() -> None:
    stored = sealed({**WEBHOOK, "headers": {"A": "1", "B": "2"}, "secret": "s"}, VAULT)

    readable, problems = opened({**stored, "_id": "wh_2"}, VAULT)

    assert [problem.field for problem in problems] == ["secret", "headers.a", "headers.b"]
    assert readable["headers"] == {"A": "", "B": ""}


@pytest.mark.parametrize("fields", [{"secret": "sealed:"}, {"headers": {"x": "sealed:k1:AAAA"}}])
@pytest.mark.parametrize("vault", [VAULT, NO_KEYS])
def test_nobody_writes_what_looks_sealed(fields: dict[str, Any], vault: Any) -> None:
    with pytest.raises(InvalidInput, match="must not begin with 'sealed:'"):
        sealed({**WEBHOOK, **fields}, vault)
