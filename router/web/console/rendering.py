"""Pages as HTML: templates of the package, autoescaped, with what every one of them may use. Reads files; pure else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from router import __version__
from router.web.console.assets import Assets
from router.web.console.formats import Formats
from router.web.console.here import NAVIGATION, Here, url_for
from router.web.console.icons import icon
from router.web.console.labels import Labels
from router.web.console.language import NAMES, Language
from router.web.console.visible import visible

TEMPLATES: Final = Path(__file__).parent / "templates"


def environment() -> Environment:
    """The engine. Whatever is not written in a template is escaped, and a name that is missing is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    # gettext itself comes with each page: it is the reader's.
    made.filters["visible"] = visible
    # {{ [("", "all")] + states|map("pair", label)|list }}: what a choice takes.
    made.filters["pair"] = lambda value, label: (value.value, label(value))
    made.newstyle_gettext = True  # type: ignore[attr-defined]
    return made


class Renderer:
    """Renders for everybody; the language, the zone and the place are the reader's."""

    def __init__(self, assets: Assets) -> None:
        self._environment = environment()
        self._environment.globals.update(
            asset=assets.url, icon=icon, url=url_for, navigation=NAVIGATION, languages=NAMES, version=__version__
        )

    def render(
        self, template: str, context: Mapping[str, object], *, here: Here, language: Language, fmt: Formats
    ) -> str:
        return self._environment.get_template(template).render(
            {
                "here": here,
                "lang": language.code,
                "_": language.gettext,
                "gettext": language.gettext,
                "ngettext": language.ngettext,
                "label": Labels(language),
                "fmt": fmt,
                **context,
            }
        )
