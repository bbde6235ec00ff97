"""The site that `make docs` builds is whole, asks no other host for anything, and does not build with a broken link."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
LINKED = ["CHANGELOG.md", "Dockerfile", "bench", "config", "docker-compose.yml", "examples", "mkdocs.yml"]
"""What the site is made of, beside `docs` and the hook."""


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    mkdocs = ROOT / ".venv-docs" / "bin" / "mkdocs"
    return subprocess.run(
        [mkdocs, "build", "--strict", "--site-dir", site],
        cwd=root,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make docs` builds, which makes its environment where there is none."""
    path = tmp_path_factory.mktemp("docs") / "site"
    subprocess.run(["make", "docs", f"ARGS=--site-dir {path}"], cwd=ROOT, check=True, capture_output=True)
    return path


class Page(HTMLParser):
    """What a page loads, where it leads, and what may be led to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids.add(values.get("id", ""))
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") not in {"canonical", "next", "prev", "alternate"}:
            self.loads.append(values["href"])
        elif "src" in values:
            self.loads.append(values["src"])


def pages(site: Path) -> Iterator[tuple[Path, Page]]:
    # The page for what is not there does not know where it is asked from, so its addresses are absolute.
    found = [path for path in sorted(site.rglob("*.html")) if path.name != "404.html"]
    assert len(found) > 50
    yield from ((path, Page(path)) for path in found)


def test_nothing_is_loaded_from_elsewhere_or_from_the_root_of_the_server(site: Path) -> None:
    for path, page in pages(site):
        for address in page.loads:
            assert not re.match(r"\w+:|/", address), (path, address)
            assert (path.parent / address.partition("?")[0]).exists(), (path, address)
    for path in site.rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?(?:https?:|/)", path.read_text(encoding="utf-8")), path


def test_links_lead_to_pages_and_anchors_of_the_site(site: Path) -> None:
    ids = {path.resolve(): page.ids for path, page in pages(site)}
    for path, page in pages(site):
        for address in page.links:
            if re.match(r"https://|mailto:", address):
                continue
            target, _, anchor = unquote(address).partition("#")
            file = (path.parent / target).resolve() if target else path.resolve()
            assert file.exists(), (path, address)
            # The theme's own anchors (`__toc`) are made by its script.
            assert not anchor or anchor.startswith("__") or anchor in ids[file], (path, address)


def test_files_outside_of_the_documentation_are_pages_of_the_site(site: Path) -> None:
    assert "max_in_flight_per_webhook" in (site / "files" / "config" / "router.toml.html").read_text(encoding="utf-8")
    assert 'href="rules.yml.html"' in (site / "files" / "config" / "prometheus" / "index.html").read_text("utf-8")


def test_lists_and_tables_are_rendered_as_such(site: Path) -> None:
    for path, _ in pages(site):
        text = re.sub(r"(?s)<pre.*?</pre>", "", path.read_text(encoding="utf-8"))
        assert not re.search(r"<p>[^<]*\n(?:- |\d\. |\|)|^\|-", text), path


def test_french_pages_say_so_and_lead_to_the_english_ones(site: Path) -> None:
    for path in sorted((site / "fr").glob("*.html")):
        french, english = (each.read_text(encoding="utf-8") for each in (path, site / path.name))
        assert '<html lang="fr"' in french
        assert f'href="../{path.name}" hreflang="en"' in french
        assert '<html lang="en"' in english
        assert f'href="fr/{path.name}" hreflang="fr"' in english


def test_the_search_knows_both_languages(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert index["config"]["lang"] == ["en", "fr"]
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {"support.html", "fr/support.html", "files/config/router.toml.html"} <= found


def test_the_search_shows_reasons_and_files_behind_what_to_do(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    behind = {entry["location"].partition("/")[0] for entry in index["docs"] if entry.get("boost", 1) < 1}
    before = {entry["location"].partition("#")[0] for entry in index["docs"] if entry.get("boost", 1) >= 1}

    assert behind == {"decisions", "files"}
    assert {"support.html", "fr/support.html", "runbook.html"} <= before
    assert not any(each.startswith(("decisions/", "files/")) for each in before)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[a page](operations.md#deploy), [a file](../config/router.toml), [a folder](../config/systemd)", ""),
        ("[no such page](nowhere.md)", "'nowhere.md'"),
        ("[no such heading](operations.md#nowhere)", "#nowhere"),
        ("[no such file](../config/nowhere.toml)", "nowhere.toml"),
    ],
)
def test_a_broken_link_is_an_error(tmp_path: Path, written: str, said: str) -> None:
    for name in LINKED:
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("docs", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    with (tmp_path / "docs" / "api.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{written}\n")

    done = build(tmp_path, tmp_path / "site")

    assert (done.returncode == 1) == bool(said), done.stderr
    assert said in done.stderr
