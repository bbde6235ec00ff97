"""config/router.toml is the reference of the settings: it names each of them, with the value that is the default."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from router.settings import Settings, load_settings
from router.settings.schema import known_keys

REFERENCE = Path(__file__).parents[2] / "config" / "router.toml"
TEXT = REFERENCE.read_text(encoding="utf-8")

# "#key = value" is a setting, "# text" explains, "#     key = value" is an example of something else.
UNCOMMENTED = re.sub(r"(?m)^#(?=[^\s#])", "", TEXT)
EXAMPLES = "\n".join(re.findall(r"(?m)^#     (\S.*)$", TEXT))


def _keys(node: object, prefix: str = "") -> set[str]:
    """Dotted keys without positions; empty tables and lists count as keys."""
    if isinstance(node, list):
        return {key for item in node for key in _keys(item, prefix)}
    if not isinstance(node, dict):
        return set()
    return {prefix + name for name in node} | {
        key for name, inner in node.items() for key in _keys(inner, f"{prefix}{name}.")
    }


def test_every_setting_is_in_the_file_and_nothing_else() -> None:
    assert _keys(tomllib.loads(UNCOMMENTED)) == set(known_keys(Settings))


def test_uncommenting_every_line_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text(UNCOMMENTED, encoding="utf-8")
    assert load_settings(config=path, environ={}) == Settings()


def test_file_as_it_is_changes_nothing() -> None:
    assert load_settings(config=REFERENCE, environ={}) == Settings()


def test_every_setting_has_a_comment_above_it() -> None:
    """Directly above, or above the group that it is in."""
    for match in re.finditer(r"(?m)^#(?P<key>[a-z_]+) = ", TEXT.partition("exchanges that are consumed")[0]):
        group = TEXT[: match.start()].rpartition("\n\n")[2]
        assert re.search(r"(?m)^# \S", group) or match["key"] in {
            "timeout_seconds",
            "retry_delays_seconds",
            "max_age_seconds",
        }, match["key"]


def test_every_key_of_a_source_is_explained() -> None:
    for key in ("name", "exchange", "binding_arguments", "queue", "prefetch", "type_map", "decode", "time_zone"):
        assert re.search(rf"(?m)^#   {key} +\S", TEXT), key


def test_examples_are_sound(tmp_path: Path) -> None:
    path = tmp_path / "examples.toml"
    path.write_text(EXAMPLES, encoding="utf-8")
    wazo, switch = load_settings(config=path, environ={}).sources
    assert (wazo.exchange, wazo.declare, wazo.binding_arguments["x-match"]) == ("wazo-headers", "passive", "all")
    assert switch.type_map == {"CHANNEL_CREATE": "call", "CHANNEL_HANGUP_COMPLETE": "cdr"}


def test_lines_fit_a_terminal() -> None:
    assert max(len(line) for line in TEXT.splitlines()) <= 110
