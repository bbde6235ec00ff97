"""Paths to a publisher's fields: the grammar, and what following one gives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.domain.fields import MAX_PATH_STEPS, Origin, parse_path

BODY, HEADER, PROPERTY = Origin.BODY, Origin.HEADER, Origin.PROPERTY


@pytest.mark.parametrize(
    ("text", "origin", "steps"),
    [
        ("id", BODY, ("id",)),
        ("tracking_number.number", BODY, ("tracking_number", "number")),
        ("data.legs[0].from", BODY, ("data", "legs", 0, "from")),
        ("matrix[1][20]", BODY, ("matrix", 1, 20)),
        ("'dotted.key'.id", BODY, ("dotted.key", "id")),
        ("a.'with [brackets]'[2]", BODY, ("a", "with [brackets]", 2)),
        ("$ref", BODY, ("$ref",)),
        ("call-id", BODY, ("call-id",)),
        ("numéro", BODY, ("numéro",)),
        ("@header.x-account-id", HEADER, ("x-account-id",)),
        ("@header.'x.y'", HEADER, ("x.y",)),
        ("@header.x.y", HEADER, ("x.y",)),
        ("@property.message_id", PROPERTY, ("message_id",)),
        ("a" + ".b" * (MAX_PATH_STEPS - 1), BODY, ("a", *["b"] * (MAX_PATH_STEPS - 1))),
    ],
)
def test_path_is_parsed(text: str, origin: Origin, steps: tuple[str | int, ...]) -> None:
    path = parse_path(text)

    assert (path.origin, path.steps) == (origin, steps)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "a key is expected at character 1"),
        (".a", "a key is expected at character 1"),
        ("a.", "a key is expected at character 3"),
        ("a..b", "a key is expected at character 3"),
        ("[0]", "a key is expected at character 1"),
        ("a[x]", "'.' or '[' is expected at character 2"),
        ("a[-1]", "'.' or '[' is expected at character 2"),
        ("a[1234567]", "'.' or '[' is expected at character 2"),
        ("a[0]b", "'.' or '[' is expected at character 5"),
        ("'open", "a key is expected at character 1"),
        ("''", "a key is expected at character 1"),
        ("a.b'c", "'.' or '[' is expected at character 4"),
        ("@header.", "a name is missing"),
        ("@property.''", "a name is missing"),
        ("@body.id", "'@header.NAME' or '@property.NAME'"),
        ("a" + ".b" * MAX_PATH_STEPS, f"at most {MAX_PATH_STEPS} steps"),
    ],
)
def test_wrong_path_says_where(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  the text is compared below
        parse_path(text)

    assert complaint in str(refused.value)


DOCUMENT = {
    "id": "evt_1",
    "nothing": None,
    "dotted.key": {"id": 7},
    "tracking_number": {"number": "+33199001234"},
    "data": {"legs": [{"from": "a"}, {"from": "b"}], "text": "abc", "bytes": b"abc"},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("id", "evt_1"),
        ("tracking_number.number", "+33199001234"),
        ("'dotted.key'.id", 7),
        ("data.legs[1].from", "b"),
        ("data.legs[1]", {"from": "b"}),
        ("nothing", None),
        ("nothing.more", None),
        ("absent", None),
        ("dotted.key", None),
        ("id.more", None),
        ("data.legs[2]", None),
        ("data.legs.from", None),
        ("data[0]", None),
        ("data.text[0]", None),
        ("data.bytes[0]", None),
    ],
)
def test_following_a_path_gives_the_value_or_none(text: str, value: object) -> None:
    assert parse_path(text).follow(DOCUMENT) == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=20,
)


@settings(deadline=None)
@given(document=json_values, path=st.sampled_from(["a", "a.b", "a[0]", "a[1].b", "a.b.c", "a.b[2][0].c"]))
def test_no_document_makes_following_fail(document: object, path: str) -> None:
    parse_path(path).follow(document)
