"""Lists that come in pages: read from the store and written one after the other. Writes through `output`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import click

from router.application.queries import DEFAULT_LIMIT, MAX_LIMIT, Page, PageRequest, decode_cursor, encode_cursor
from router.cli import output
from router.cli.options import usage_error
from router.cli.session import Session, Store
from router.domain.errors import InvalidInput

if TYPE_CHECKING:
    from router.settings import Settings

_T = TypeVar("_T")
_Function = TypeVar("_Function", bound=Callable[..., Any])

_LIST_BEGIN: Final = '{"items": ['


def paging_options(function: _Function) -> _Function:
    """Decorator: the options of a list, for `print_pages`."""
    for option in (
        click.option("--all", "everything", is_flag=True, help="Show them all, whatever --limit says."),
        click.option("--cursor", metavar="CURSOR", help="Go on where an earlier list ended."),
        click.option(
            "--limit",
            type=click.IntRange(1, MAX_LIMIT),
            default=DEFAULT_LIMIT,
            show_default=True,
            help="How many to show.",
        ),
    ):
        function = option(function)
    return function


def print_pages(
    session: Session,
    fetch: Callable[[Store, PageRequest, Settings], Awaitable[Page[_T]]],
    listing: Listing[_T],
    *,
    limit: int,
    cursor: str | None,
    everything: bool,
) -> None:
    """Write one page, or with `everything` page after page to the end."""
    try:
        after = decode_cursor(cursor) if cursor is not None else None
    except InvalidInput as error:
        raise usage_error(error, {"cursor": "--cursor"}) from None

    async def work(store: Store, settings: Settings) -> None:
        request = PageRequest(limit=MAX_LIMIT if everything else limit, after=after)
        page = await fetch(store, request, settings)
        listing.add(page.items)
        while everything and page.next is not None:
            page = await fetch(store, replace(request, after=page.next), settings)
            listing.add(page.items)
        listing.end(encode_cursor(page.next) if page.next else None)

    session.with_store(work)


class Listing(Generic[_T]):
    """Writes a list as its pages come, so that a long one costs no memory and its beginning is there at once.

    As JSON it is one document in the shape of the API: `{"items": […], "next_cursor": …}`.
    """

    def __init__(
        self,
        columns: output.Row,
        *,
        row: Callable[[_T], output.Row],
        view: Callable[[_T], object],
        as_json: bool,
        when_empty: str,
    ) -> None:
        self._columns = columns
        self._row = row
        self._view = view
        self._as_json = as_json
        self._when_empty = when_empty
        self._count = 0

    def add(self, items: Sequence[_T]) -> None:
        """Write one page."""
        if self._as_json:
            for number, item in enumerate(items, start=self._count):
                click.echo(("," if number else _LIST_BEGIN) + "\n  " + output.to_json(self._view(item)), nl=False)
        elif items:
            output.print_table(self._columns, [self._row(item) for item in items], with_header=not self._count)
        self._count += len(items)

    def end(self, next_cursor: str | None) -> None:
        """Close the list; `next_cursor` is where it would go on."""
        if self._as_json:
            beginning = "\n" if self._count else _LIST_BEGIN
            click.echo(f'{beginning}], "next_cursor": {output.to_json(next_cursor)}}}')
        elif not self._count:
            output.note(self._when_empty)
        elif next_cursor is not None:
            output.note(f"There are more: --cursor {next_cursor} shows the next ones, --all shows them all.")
