"""Health: what fails since when, what waits, what could not be understood, and this process. Reads through ports."""

from __future__ import annotations

from typing import Final

from router.application.overview import Ailment, health_report
from router.domain.principal import Scope
from router.web.console.language import N_
from router.web.console.page import Answer, NoQuery, Page, Route, route
from router.web.console.pages.deliveries_words import Words, words_for

FOR_OPERATORS: Final = N_("This page is about the router as a whole: it is for those who run it, not for one account.")


@route("GET", "/health", Scope.READ, missing=FOR_OPERATORS)
async def show_health(page: Page[NoQuery]) -> Answer:
    """For staff: a principal of one account gets a 404."""
    report = await health_report(page.api.reader, page.api.checks(), page.api.now())

    def words(ailment: Ailment) -> Words | None:
        if ailment.last_error is None:
            return None
        return words_for(ailment.last_error, ailment.webhook.url, page.language, page.fmt)

    return page.show("health/show.html", report=report, words=words)


HEALTH: Final[tuple[Route, ...]] = (show_health,)
