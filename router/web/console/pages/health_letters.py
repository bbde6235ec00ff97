"""Dead letters: the list, one with its bytes, and sending it again. Reads and manages through ports; whoever sees a
message is written down first.
"""

from __future__ import annotations

from typing import Final

from router.application import manage, queries
from router.application.queries import PageRequest, decode_cursor, encode_cursor
from router.domain.audit import AuditAction
from router.domain.principal import Scope
from router.web.console.here import url_for
from router.web.console.language import N_
from router.web.console.page import Answer, Download, NoQuery, Page, Route, route
from router.web.console.pages.deliveries_one import payload_of
from router.web.console.pages.health import FOR_OPERATORS

_MISSING: Final = N_("No rejected message has this id. They leave the log after a while, and belong to no account.")


class LettersQuery(NoQuery):
    """Which part of the list."""

    cursor: str | None = None


@route("GET", "/dead-letters", Scope.READ, missing=FOR_OPERATORS)
async def list_letters(page: Page[LettersQuery]) -> Answer:
    """Why and from where, without a look at any message: so nothing is revealed."""
    after = decode_cursor(page.query.cursor) if page.query.cursor else None
    found = await queries.list_dead_letters(page.api.reader, PageRequest(after=after, with_total=True))
    return page.show(
        "health/letters.html",
        letters=found.items,
        total=found.total,
        next=encode_cursor(found.next) if found.next else None,
    )


@route("GET", "/dead-letters/{id}", Scope.READ, missing=_MISSING)
async def show_letter(page: Page[NoQuery]) -> Answer | None:
    """One with the beginning of its message."""
    letter = await page.api.reader.dead_letter(page.id)
    if letter is None:
        return None
    await page.audit.note(AuditAction.DEAD_LETTER_REVEALED, target=letter.id)
    body = letter.raw.body if letter.raw else None
    return page.show("health/letter.html", letter=letter, body=payload_of(body) if body else None)


@route("GET", "/dead-letters/{id}/body", Scope.READ, missing=_MISSING)
async def download_letter(page: Page[NoQuery]) -> Answer | None:
    """The message, byte for byte, as a file."""
    letter = await page.api.reader.dead_letter(page.id)
    if letter is None or letter.raw is None:
        return None
    await page.audit.note(AuditAction.DEAD_LETTER_REVEALED, target=letter.id)
    return Download(name=f"{letter.id}.bin", body=letter.raw.body)


@route("POST", "/dead-letters/{id}/requeue", Scope.MANAGE, missing=_MISSING)
async def requeue_letter(page: Page[NoQuery]) -> Answer | None:
    """Send it to the queue that it came from."""
    letter = await manage.requeue_dead_letter(
        page.api.reader,
        page.api.registry,
        page.api.publisher,
        page.id,
        queue_of_source=page.api.queue_of_source,
        now=page.api.now(),
        audit=page.audit,
    )
    if letter is None:
        return None
    notice = page.gettext("The message was sent to the queue of “%(source)s” again.", source=letter.source)
    return page.redirect(url_for("/dead-letters/{id}", id=letter.id), notice=notice)


LETTERS: Final[tuple[Route, ...]] = (list_letters, show_letter, download_letter, requeue_letter)
