"""Makes the site of the pages as they lie here: files outside of docs/ that a page links to become pages of the site.

Called by mkdocs as it builds (mkdocs.yml); reads the repository, writes nothing.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any, Final

from mkdocs.structure.files import File

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = "docs"

_LINK: Final = re.compile(r"(?<=\]\()(?P<path>[^)\s#:]+)(?=[)#])")
_LANGUAGES: Final = {
    ".json": "json",
    ".py": "python",
    ".mjs": "javascript",
    ".php": "php",
    ".toml": "toml",
    ".yml": "yaml",
}
_BEHIND: Final = ("decisions/", "files/")
"""Reasons and files, which the search shows behind the pages that say what to do."""
_EDITIONS: Final = {"en": "English", "fr": "Français"}


def on_config(config: Any) -> None:
    """The nav's `decisions/*` is every decision; anchors are those that GitHub makes."""
    for section in config.nav:
        for pages in section.values() if isinstance(section, dict) else ():
            if pages[-1:] == ["decisions/*"]:
                pages[-1:] = [
                    f"decisions/{page.name}" for page in sorted((ROOT / DOCS / "decisions").glob("[0-9]*.md"))
                ]
    config.mdx_configs["toc"]["slugify"] = lambda title, dash: re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", dash)


def on_files(files: Any, config: Any) -> None:
    """Adds a page for whatever is linked to and lies outside of docs/, and for what that links to."""
    waiting = [f"{DOCS}/{file.src_uri}" for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        origin = waiting.pop()
        if not _is_docs(origin):
            files.append(File.generated(config, _uri(origin), content=_content(origin)))
        for target in _targets(origin):
            if target not in seen and not _is_docs(target) and (ROOT / target).exists():
                seen.add(target)
                waiting.append(target)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links of the repository become links of the site."""
    uri = page.file.src_uri
    origin = _origin(uri)
    if uri.startswith(_BEHIND):
        page.meta["search"] = {"boost": 0.2}

    def moved(link: re.Match[str]) -> str:
        target = _resolved(origin, link["path"])
        return relpath(_uri(target), str(PurePosixPath(uri).parent)) if (ROOT / target).exists() else link["path"]

    return _LINK.sub(moved, markdown).replace("<details>", "<details markdown>")


def on_page_context(context: Any, page: Any, config: Any, nav: Any) -> None:
    """Pages under fr/ are French, with French words around them; a page of two languages leads to the other one."""
    uri = page.file.src_uri
    config.theme["language"] = "fr" if uri.startswith("fr/") else "en"
    editions = {"en": uri.removeprefix("fr/"), "fr": f"fr/{uri.removeprefix('fr/')}"}
    there = all((ROOT / DOCS / edition).exists() for edition in editions.values())
    config.extra["alternate"] = [
        {"lang": lang, "name": _EDITIONS[lang], "link": edition.removesuffix(".md") + ".html"}
        for lang, edition in editions.items()
        if there
    ]


def _is_docs(path: str) -> bool:
    return path.startswith(f"{DOCS}/")


def _uri(path: str) -> str:
    """Where a path of the repository is in the site, as a source of mkdocs."""
    if _is_docs(path):
        return path.removeprefix(f"{DOCS}/")
    if (ROOT / path).is_dir():
        return f"files/{path}/index.md"
    return f"files/{path}" if path.endswith(".md") else f"files/{path}.md"


def _origin(uri: str) -> str:
    """The other way round."""
    if not uri.startswith("files/"):
        return f"{DOCS}/{uri}"
    path = uri.removeprefix("files/")
    names = (path, path.removesuffix(".md"), path.removesuffix("/index.md"))
    return next(name for name in names if (ROOT / name).exists())


def _resolved(origin: str, link: str) -> str:
    base = origin if (ROOT / origin).is_dir() else str(PurePosixPath(origin).parent)
    return normpath(f"{base}/{link}")


def _targets(origin: str) -> list[str]:
    text = (ROOT / origin).read_text("utf-8") if origin.endswith(".md") else _content(origin)
    return [_resolved(origin, path) for path in _LINK.findall(text)]


def _content(path: str) -> str:
    """A folder is a list of its files, a program or a configuration is shown as code."""
    file = ROOT / path
    if file.is_dir():
        names = sorted(inner.relative_to(file).as_posix() for inner in file.rglob("*") if inner.is_file())
        return f"# `{path}`\n\n" + "".join(f"- [{name}]({name})\n" for name in names)
    text = file.read_text("utf-8")
    return (
        text if path.endswith(".md") else f"# `{path}`\n\n`````{_LANGUAGES.get(file.suffix, 'text')}\n{text}\n`````\n"
    )
