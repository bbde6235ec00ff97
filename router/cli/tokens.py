"""`tokens`: who may use the API, and for what. The first one needs no other: only the store."""

from __future__ import annotations

import getpass
import os
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from router.application import queries
from router.application import tokens as use_cases
from router.application.queries import PageRequest
from router.application.tokens import TokenDraft
from router.cli import output, views
from router.cli.base import CommandFailedError, Group
from router.cli.listing import Listing, paging_options, print_pages
from router.cli.options import SCOPES, json_option, parse_end, usage_error
from router.cli.session import Session, Store
from router.domain.errors import InvalidInput
from router.domain.principal import Principal, Scope
from router.domain.token import Token, read_token_id

if TYPE_CHECKING:
    from router.settings import Settings

_OPTIONS: Final = {"account_id": "--account", "expires_at": "--expires", "name": "--name", "scopes": "--scope"}
"""Where each field of a token is typed."""


@click.group("tokens", cls=Group)
def tokens() -> None:
    """Make, list and revoke tokens of the API."""


def _operator() -> Principal:
    """Whoever can open the store may do everything to it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry
        user = str(os.getuid())
    return Principal(name=f"cli:{user}", scopes=frozenset({Scope.ADMIN}))


@tokens.example_command(
    "create",
    "webhook-router tokens create --name 'support desk' --scope read --scope replay --expires 90d",
    "webhook-router tokens create --name 'CRM of 1042' --account 1042 --scope manage --json",
)
@click.option("--name", required=True, metavar="TEXT", help="What it is for.")
@click.option("--scope", "scopes", multiple=True, required=True, type=SCOPES, help="What it allows. May be repeated.")
@click.option("--account", metavar="ID", help="The only account that it sees.  [default: all of them]")
@click.option(
    "--expires", callback=parse_end, metavar="TIME", help="When it ends: 90d, 12h, or a date.  [default: never]"
)
@json_option
@click.pass_obj
def create(
    session: Session,
    /,
    *,
    name: str,
    scopes: tuple[str, ...],
    account: str | None,
    expires: datetime | timedelta | None,
    as_json: bool,
) -> None:
    """Make a token.

    It is shown this once. What is kept of it is not enough to show it again.
    """

    async def work(store: Store, _: Settings) -> None:
        ends_at = store.now() + expires if isinstance(expires, timedelta) else expires
        draft = TokenDraft(name=name, scopes=scopes, account_id=account, expires_at=ends_at)
        new = await use_cases.create_token(
            store.tokens, store.audit, _operator(), draft, randomness=secrets.token_bytes, now=store.now()
        )
        if as_json:
            output.print_json({**views.token(new.token), "token": new.text})
        else:
            output.print_record([*_fields(new.token), ("token", new.text)])
        output.note("The token is shown this once.")

    try:
        session.with_store(work)
    except InvalidInput as error:
        raise usage_error(error, _OPTIONS) from None


@tokens.example_command("list", "webhook-router tokens list", "webhook-router tokens list --all --json")
@paging_options
@json_option
@click.pass_obj
def list_(session: Session, /, *, as_json: bool, **paging: Any) -> None:
    """List tokens, the newest first, expired and revoked ones too."""
    listing = Listing[Token](
        ("ID", "NAME", "SCOPES", "ACCOUNT", "CREATED", "BY", "EXPIRES", "LAST USED", "REVOKED"),
        row=_row,
        view=views.token,
        as_json=as_json,
        when_empty="There is no token yet: webhook-router tokens create makes one.",
    )

    async def fetch(store: Store, request: PageRequest, _: Settings) -> queries.Page[Token]:
        return await queries.list_tokens(store.tokens, _operator(), request)

    print_pages(session, fetch, listing, **paging)


@tokens.example_command("revoke", "webhook-router tokens revoke 4fQ0xZ9a", "webhook-router tokens revoke whr_4fQ0xZ9a")
@click.argument("token_id", metavar="ID|PREFIX")
@json_option
@click.pass_obj
def revoke(session: Session, /, *, token_id: str, as_json: bool) -> None:
    """Let nobody in with this token from now on; running routers know it within a second."""
    identity = read_token_id(token_id)

    async def work(store: Store, _: Settings) -> Token | None:
        found = await use_cases.revoke_token(store.tokens, store.audit, _operator(), identity, now=store.now())
        return found and await store.tokens.find(identity)

    token = session.with_store(work)
    if token is None:
        # Not what was typed: it may be a whole token.
        raise CommandFailedError("there is no such token; `webhook-router tokens list` shows those there are")
    if as_json:
        output.print_json(views.token(token))
    else:
        output.print_record(_fields(token))
    output.note(f"Token {output.shown(token.id)} is revoked.")


def _scopes(token: Token) -> str:
    return ",".join(scope.value for scope in Scope if scope in token.scopes)


def _row(token: Token) -> output.Row:
    values = (token.id, token.name, _scopes(token), token.account_id, token.created_at, token.created_by)
    return [output.shown(value) for value in (*values, token.expires_at, token.last_used_at, token.revoked_at)]


def _fields(token: Token) -> list[tuple[str, object]]:
    return [
        ("id", token.id),
        ("name", token.name),
        ("scopes", _scopes(token)),
        ("account", token.account_id),
        ("created", token.created_at),
        ("created by", token.created_by),
        ("expires", token.expires_at),
        ("last used", token.last_used_at),
        ("revoked", token.revoked_at),
    ]
