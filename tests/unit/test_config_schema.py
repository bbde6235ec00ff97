"""The JSON Schema of the configuration: it takes what the program takes, and refuses nothing that the program takes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from router.settings import Settings, SettingsError, config_schema, load_settings
from router.settings.schema import known_keys

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "config" / "router.toml").read_text(encoding="utf-8")
SCHEMA = config_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
BLOCKS = [
    block for page in PAGES for block in re.findall(r"(?ms)^```toml\n(.*?)^```$", page.read_text(encoding="utf-8"))
]

WRONG = [
    '[api]\nport = "eighty"',
    "[api]\nport = 65536",
    "[api]\nprot = 80",
    "[nonsense]\nx = 1",
    "data_dir = 7",
    '[log]\nformat = "xml"',
    '[mongo]\ndriver = "asyncpg"',
    "[delivery.call]\nretry_delays_seconds = [1, -1]",
    "[delivery.cdr]\nmax_age_seconds = 0",
    "[retention]\npayload_days = 0",
    "[egress]\nallow = [7]",
    '[[sources]]\nname = "pbx"',
    '[[sources]]\nevent_type = "call"',
    '[[sources]]\nexchange = "call"\nprefetch = 2001',
    '[[sources]]\nexchange = "call"\ndeclare = "maybe"',
    '[[sources]]\nexchange = "call"\n[sources.fields]\nacount_id = "x"',
]
RIGHT = [
    "",
    '[delivery.user]\nmax_age_seconds = "none"\nretry_delays_seconds = []',
    '[amqp]\nevents_exchange = "none"',
    '[log]\nformat = "auto"\nhash_key = "none"',
    '[egress]\nallow = ["10.0.0.0/8", "[fd00::/8]:8443"]\ndeny_ports = []',
    '[api]\ntrusted_proxies = ["10.0.0.0/8", "fd00::/8"]',
    '[[sources]]\nname = "call"',
    '[[sources]]\nexchange = "cdr"\n[sources.fields]\naccount_id = ["a", "b"]\ntype = []\nid = "x.y"',
    '[[sources]]\nname = "pbx"\nevent_type = "cdr"\ntype_map = { CDR = "cdr" }\nbinding_keys = ["a.#", "b"]',
]


def complaints(text: str) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(tomllib.loads(text))]


def is_accepted(text: str, tmp_path: Path) -> bool:
    path = tmp_path / "router.toml"
    path.write_text(text, encoding="utf-8")
    try:
        load_settings(config=path, environ={})
    except SettingsError:
        return False
    return True


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("form", ["as it is", "every line uncommented", "its examples"])
def test_the_reference_is_valid(form: str) -> None:
    text = {
        "as it is": REFERENCE,
        "every line uncommented": re.sub(r"(?m)^#(?=[^\s#])", "", REFERENCE),
        "its examples": "\n".join(re.findall(r"(?m)^#     (\S.*)$", REFERENCE)),
    }[form]
    assert complaints(text) == []


@pytest.mark.parametrize("text", [*RIGHT, *BLOCKS])
def test_what_the_program_takes_is_valid(text: str, tmp_path: Path) -> None:
    assert is_accepted(text, tmp_path)
    assert complaints(text) == []


@pytest.mark.parametrize("text", WRONG)
def test_what_the_schema_refuses_the_program_refuses(text: str, tmp_path: Path) -> None:
    assert complaints(text)
    assert not is_accepted(text, tmp_path)


def test_every_key_is_in_it_with_its_text() -> None:
    for key in known_keys(Settings):
        node = SCHEMA
        for step in key.split("."):
            node = node["properties"][step]
            assert node["description"], key
            reference = node.get("$ref") or node.get("items", {}).get("$ref")
            node = SCHEMA["$defs"][reference.rpartition("/")[2]] if reference else node


def test_defaults_are_those_that_count_and_hold_no_null() -> None:
    api = SCHEMA["$defs"]["ApiSettings"]["properties"]
    assert (api["port"]["default"], api["admin_token"]["default"]) == (8080, "none")
    assert "null" not in str(SCHEMA).split("'")
    assert "None" not in str(SCHEMA)
