"""API tokens as they are written and read, and whom one lets in."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.errors import InvalidInput
from router.domain.event import AccountId
from router.domain.principal import Principal, Scope
from router.domain.token import (
    ID_BYTES,
    SECRET_BYTES,
    Denial,
    WrittenToken,
    admit,
    check_scopes,
    new_secret,
    new_token_id,
    read_token,
    read_token_id,
    write_token,
)
from tests.support.samples import at
from tests.support.tokens import new_token


@given(st.binary(min_size=ID_BYTES, max_size=ID_BYTES), st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES))
def test_token_is_read_as_it_was_written(id_bytes: bytes, secret_bytes: bytes) -> None:
    token_id, secret = new_token_id(id_bytes), new_secret(secret_bytes)
    text = write_token(token_id, secret)

    assert re.fullmatch(r"whr_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}", text)
    assert read_token(text) == WrittenToken(id=token_id, secret=secret)
    assert [read_token_id(typed) for typed in (token_id, text[:12], text)] == [token_id] * 3


def test_different_secrets_are_written_differently() -> None:
    edges = [bytes(32), bytes(31) + b"\x01", b"\x01" + bytes(31), b"\xff" * 32]
    assert len({new_secret(edge) for edge in edges}) == len(edges)


@given(st.data())
def test_one_wrong_character_is_noticed(data: st.DataObject) -> None:
    text = new_token().text
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda character: character != text[place]))

    assert read_token(text[:place] + other + text[place + 1 :]) is None


@given(st.text())
def test_what_is_no_token_is_not_read(text: str) -> None:
    assert read_token(text) is None
    assert read_token(new_token().text + (text or "x")) is None


def test_secret_part_is_in_no_representation() -> None:
    own = new_token()
    written = read_token(own.text)
    assert written is not None
    assert written.secret not in repr(written)
    assert own.token.digest not in repr(own.token)


def _written(text: str) -> WrittenToken:
    written = read_token(text)
    assert written is not None
    return written


def test_token_lets_in_whom_it_is_for() -> None:
    own = new_token(Scope.READ, account="1042", expires_at=at(1))

    assert admit(_written(own.text), own.token, at(0.999)) == Principal(
        name=f"token:{own.id}", scopes=frozenset({Scope.READ}), account_id=AccountId("1042")
    )


def test_expired_and_revoked_ones_let_nobody_in_and_say_so_only_to_their_owner() -> None:
    own, stranger = new_token(expires_at=at(1)), new_token()
    revoked = replace(own.token, revoked_at=at(0))
    forged = WrittenToken(id=own.id, secret=_written(stranger.text).secret)

    assert admit(_written(own.text), own.token, at(1)) is Denial.EXPIRED
    assert admit(_written(own.text), revoked, at(2)) is Denial.REVOKED
    assert admit(_written(own.text), None, at(0)) is Denial.UNKNOWN
    assert [admit(forged, kept, at(2)) for kept in (own.token, revoked)] == [Denial.UNKNOWN] * 2


@pytest.mark.parametrize("scopes", [(), ("root",), ("read", None), ("READ",), ("read", "")])
def test_wrong_scopes_are_refused(scopes: tuple[object, ...]) -> None:
    with pytest.raises(InvalidInput, match="scopes: must be one or more of read, replay, manage, admin"):
        check_scopes(scopes)


def test_scopes_are_a_set() -> None:
    assert check_scopes(["read", Scope.READ, "manage"]) == {Scope.READ, Scope.MANAGE}
