"""What a sealed value is bound to, and which key files are taken."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.adapters.vault import read_key_ring
from router.domain.errors import ConfigurationRefused
from router.domain.event import AccountId
from router.domain.sealed import format_sealed, read_sealed
from router.domain.webhook import WebhookId
from router.ports import NO_KEYS, Place
from tests.support.keys import key_file, key_line, ring

SECRET = "whsec_c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IQ=="
PLACE = Place(account_id=AccountId("1042"), webhook_id=WebhookId("wh_1"), field="secret")
texts = st.text(max_size=60)
places = st.builds(Place, account_id=texts.map(AccountId), webhook_id=texts.map(WebhookId), field=texts)


# --- sealing ---------------------------------------------------------------------------------------


@given(texts, places)
def test_what_was_sealed_opens_at_its_place(text: str, place: Place) -> None:
    vault = ring("k2", "k1")
    sealed = vault.seal(text, place)

    assert sealed.startswith("sealed:k2:")
    assert vault.open(sealed, place) == text
    assert ring("k1", "k2").open(sealed, place) == text


@given(texts, places, places)
def test_it_opens_at_no_other_place(text: str, place: Place, other: Place) -> None:
    sealed = ring("k1").seal(text, place)

    if other != place:
        with pytest.raises(ValueError, match="was sealed for another place"):
            ring("k1").open(sealed, other)


@pytest.mark.parametrize(
    "other",
    [
        replace(PLACE, account_id=AccountId("2042")),
        replace(PLACE, webhook_id=WebhookId("wh_2")),
        replace(PLACE, field="signing_key"),
        # The same characters, cut elsewhere.
        Place(account_id=AccountId("1042wh_1"), webhook_id=WebhookId(""), field="secret"),
        Place(account_id=AccountId('1042", "wh_1'), webhook_id=WebhookId("secret"), field=""),
    ],
)
def test_a_swap_between_accounts_webhooks_or_fields_is_noticed(other: Place) -> None:
    vault = ring("k1")

    with pytest.raises(ValueError, match="was sealed for another place"):
        vault.open(vault.seal(SECRET, PLACE), other)


def test_the_id_of_the_key_is_bound_too() -> None:
    # Two ids of one key are refused in a file; here they show that the id itself is authenticated.
    _, box = read_sealed(ring("k1").seal(SECRET, PLACE))
    vault = ring("k2", "k1")

    with pytest.raises(ValueError, match="does not open with key 'k2'"):
        vault.open(format_sealed("k2", box), PLACE)


@given(st.binary(min_size=1, max_size=8), st.integers(0))
def test_a_value_that_was_tampered_with_does_not_open(noise: bytes, position: int) -> None:
    key_id, box = read_sealed(ring("k1").seal(SECRET, PLACE))
    place = position % len(box)
    damaged = box[:place] + noise + box[place + len(noise) :]

    if damaged != box:
        with pytest.raises(ValueError, match="or it is damaged"):
            ring("k1").open(format_sealed(key_id, damaged), PLACE)


@pytest.mark.parametrize("length", [1, 11, 12, 13, 27])
def test_a_value_that_was_cut_does_not_open(length: int) -> None:
    _, box = read_sealed(ring("k1").seal(SECRET, PLACE))

    with pytest.raises(ValueError, match="or it is damaged"):
        ring("k1").open(format_sealed("k1", box[:length]), PLACE)


def test_the_same_secret_is_never_sealed_alike() -> None:
    assert len({ring("k1").seal(SECRET, PLACE) for _ in range(100)}) == 100


@pytest.mark.parametrize("vault", [ring("k1"), NO_KEYS])
@pytest.mark.parametrize("text", ["", SECRET, "Sealed:k1:AAAA", " sealed:k1:AAAA"])
def test_plain_text_comes_back_as_it_is(vault: object, text: str) -> None:
    assert ring("k1").open(text, PLACE) == text
    assert NO_KEYS.open(text, PLACE) == NO_KEYS.seal(text, PLACE) == text


def test_a_missing_key_is_named() -> None:
    sealed = ring("k1").seal(SECRET, PLACE)

    with pytest.raises(ValueError, match=r"^is sealed with key 'k1', which is not in the key file$"):
        ring("k2").open(sealed, PLACE)
    with pytest.raises(ValueError, match=r"^is sealed with key 'k1', and there is no key file$"):
        NO_KEYS.open(sealed, PLACE)


@pytest.mark.parametrize(
    "text",
    ["sealed:", "sealed:k1", "sealed:k1:", "sealed:k1:hush!", "sealed:k1:A", "sealed::AAAA", "sealed:k1:AAAA\n",
     "sealed:\x1b[2J:AAAA", "sealed:k1:AAAA:hush"],
)  # fmt: skip
def test_what_only_looks_sealed_is_refused_and_not_quoted(text: str) -> None:
    for vault in (ring("k1"), NO_KEYS):
        with pytest.raises(ValueError, match=r"^begins like a sealed value and is none$"):
            vault.open(text, PLACE)


# --- the key file ----------------------------------------------------------------------------------


def test_the_first_key_seals_and_all_of_them_open(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(f"# new\n{key_line('k2')}\r\n\n  {key_line('k1')}  \n".encode())
    path.chmod(0o400)

    vault = read_key_ring(path)

    assert vault.key_ids == ("k2", "k1")
    assert vault.open(ring("k1").seal(SECRET, PLACE), PLACE) == SECRET


def test_a_key_that_is_added_while_the_router_runs_opens_and_does_not_seal(tmp_path: Path) -> None:
    vault = read_key_ring(key_file(tmp_path / "keys", "k1"))
    sealed = ring("k2").seal(SECRET, PLACE)
    with pytest.raises(ValueError, match="which is not in the key file"):
        vault.open(sealed, PLACE)

    key_file(tmp_path / "new", "k2", "k1").rename(tmp_path / "keys")

    assert vault.open(sealed, PLACE) == SECRET
    assert vault.seal(SECRET, PLACE).startswith("sealed:k1:")


def test_a_file_that_goes_wrong_while_the_router_runs_takes_no_key_away(tmp_path: Path) -> None:
    path = key_file(tmp_path / "keys", "k1")
    vault = read_key_ring(path)
    path.write_text("nonsense")

    with pytest.raises(ValueError, match="which is not in the key file"):
        vault.open(ring("k2").seal(SECRET, PLACE), PLACE)
    assert vault.open(ring("k1").seal(SECRET, PLACE), PLACE) == SECRET


@pytest.mark.parametrize("mode", [0o444, 0o604, 0o460, 0o420, 0o602])
def test_a_file_that_others_can_read_or_write_is_refused(mode: int, tmp_path: Path) -> None:
    path = key_file(tmp_path / "keys", "k1")
    path.chmod(mode)

    with pytest.raises(ConfigurationRefused, match="can be read or written by others: chmod 0400 it"):
        read_key_ring(path)


def test_only_a_file_of_root_may_be_read_by_its_group(tmp_path: Path) -> None:
    path = key_file(tmp_path / "keys", "k1")
    path.chmod(0o440)
    if path.stat().st_uid != 0:
        with pytest.raises(ConfigurationRefused, match="0440 where it belongs to root"):
            read_key_ring(path)
        return

    assert read_key_ring(path).key_ids == ("k1",)
    os.chown(path, 65_534, 65_534)
    with pytest.raises(ConfigurationRefused, match="0440 where it belongs to root"):
        read_key_ring(path)


def _nothing(path: Path) -> None:
    """No file."""


def _pipe(path: Path) -> None:
    os.mkfifo(path)
    path.chmod(0o600)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (_nothing, r"cannot be read \(No such file or directory\)"),
        (Path.mkdir, "Is a directory"),
        (_pipe, "is no regular"),
    ],
)
def test_what_is_no_file_is_refused_at_once(make: Callable[[Path], None], told: str, tmp_path: Path) -> None:
    make(tmp_path / "keys")

    with pytest.raises(ConfigurationRefused, match=rf"the key file \(secrets.key_file\) .*{told}"):
        read_key_ring(tmp_path / "keys")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "holds no key"),
        (b"# k1:nothing\n", "holds no key"),
        (b"hush\n", "a line 1 that is not '<key id>:<base64 of 32 bytes>'"),
        (b"k1:aHVzaA==\n", "a line 1 that is not"),
        (b"k1:hush!\n", "a line 1 that is not"),
        (b"k 1:" + b"A" * 43 + b"=\n", "a line 1 that is not"),
        (b"\xff\xfe\n", "a line 1 that is not"),
        (f"{key_line('k1')}\n\n{key_line('k1')}\n".encode(), "a line 3 whose id or key was there before"),
        (f"{key_line('k1')}\n{key_line('k1').replace('k1', 'k2', 1)}\n".encode(), "a line 2 whose id or key"),
        (random.Random(1).randbytes(70_000), "is larger than 65536 bytes"),
    ],
)
def test_a_file_that_is_wrong_is_refused_without_a_word_of_it(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(ConfigurationRefused) as refused:
        read_key_ring(path)

    assert told in str(refused.value)
    assert "hush" not in str(refused.value)
