"""`events`: publish an event by hand, the way the platform does."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Final

import click

from router.application import manage
from router.application.manage import Published, Route
from router.application.samples import sample_event
from router.cli import output
from router.cli.base import Group
from router.cli.options import EVENT_TYPES, json_option, usage_error
from router.cli.session import Session, Store, auditor
from router.domain.errors import InvalidInput
from router.domain.event import EventType

if TYPE_CHECKING:
    from router.settings import Settings

_OPTIONS: Final = {"event_type": "--type", "routing_key": "--routing-key", "source": "--source", "type": "--type"}


@click.group("events", cls=Group)
def events() -> None:
    """Publish events by hand."""


@events.example_command(
    "publish",
    "webhook-router events publish --sample call --account 1042",
    "webhook-router events publish --sample cdr --account 1042 --number '01 99 00 12 34' --json",
    "webhook-router events publish event.json",
    'echo \'{"id":"e-1","account_id":"1042","data":{}}\' | webhook-router events publish --type call -',
)
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--type", "event_type", type=EVENT_TYPES, help="Kind of event, where the body does not say it.")
@click.option("--source", metavar="NAME", help="Source of the configuration whose exchange is used.")
@click.option("--routing-key", metavar="KEY", help="Routing key.  [default: the event's name]")
@click.option("--sample", type=EVENT_TYPES, help="Publish an invented event of this kind instead of a file.")
@click.option("--account", metavar="ID", help="Account of the sample.")
@click.option("--number", metavar="NUMBER", help="Tracking number of the sample.")
@click.option("--user-id", metavar="ID", help="User of the sample.")
@json_option
@click.pass_obj
def publish(
    session: Session,
    /,
    *,
    file: IO[bytes] | None,
    event_type: str | None,
    source: str | None,
    routing_key: str | None,
    sample: str | None,
    account: str | None,
    number: str | None,
    user_id: str | None,
    as_json: bool,
) -> None:
    """Publish an event from FILE, or from stdin with -, to the exchange of its source.

    The body is sent as it is. The command ends when the broker has confirmed the message and a queue has it.
    """
    if (sample is None) == (file is None):
        raise click.UsageError("give a FILE (- is stdin), or --sample", click.get_current_context())
    if sample is not None:
        body = _sample(sample, account, number, user_id)
    else:
        body = _read(file, given=(account, number, user_id))

    async def work(store: Store, settings: Settings) -> Published:
        async with session.open_publisher(settings) as publisher:
            return await manage.publish_event(
                publisher,
                routes_of(settings),
                body,
                audit=auditor(store),
                source=source,
                event_type=event_type or sample,
                routing_key=routing_key,
            )

    try:
        published = session.with_store(work)
    except InvalidInput as error:
        raise usage_error(error, _OPTIONS) from None
    _print(published, as_json=as_json)


def _sample(kind: str, account: str | None, number: str | None, user_id: str | None) -> bytes:
    if account is None:
        raise click.UsageError("--sample needs --account", click.get_current_context())
    return sample_event(
        EventType(kind),
        account_id=account,
        number=number,
        user_id=user_id,
        token=secrets.token_hex(8),
        now=datetime.now(UTC),
    )


def _read(file: IO[bytes] | None, *, given: tuple[str | None, ...]) -> bytes:
    if any(value is not None for value in given):
        raise click.UsageError("--account, --number and --user-id go with --sample", click.get_current_context())
    return file.read() if file is not None else b""


def routes_of(settings: Settings) -> list[Route]:
    """The sources, as a publisher needs to know them."""
    return [
        Route(
            source=source.name,
            event_type=source.event_type,
            exchange=source.exchange,
            binding_keys=source.binding_keys,
            is_topic=source.exchange_type == "topic",
        )
        for source in settings.sources
    ]


def _print(published: Published, *, as_json: bool) -> None:
    fields = {
        "source": published.source,
        "exchange": published.exchange,
        "routing_key": published.routing_key,
        "size": published.size,
        "event_id": published.event_id,
        "account_id": published.account_id,
    }
    if as_json:
        output.print_json(fields)
    else:
        output.print_record([(name.replace("_", " "), value) for name, value in fields.items()])
    if not published.is_object:
        output.note("The body is no JSON object: unless the source decodes it, it becomes a dead letter.")
    elif published.event_id is not None:
        output.note(f"Follow it: webhook-router deliveries list --event {output.shown(published.event_id)}")
