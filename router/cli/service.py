"""The commands that concern the program as a whole: run it, check its settings, show it off, describe its API."""

from __future__ import annotations

from typing import Final

import click

from router.cli import output
from router.cli.base import Command
from router.cli.options import json_option
from router.cli.session import Session

LARGE_MACHINE: Final = 256
"""More worker processes than this are a typing error."""


@click.command(
    "serve",
    cls=Command,
    examples=(
        "webhook-router serve",
        "webhook-router serve --workers 4 --config /etc/webhook-router/router.toml",
        "webhook-router serve --role api --api-port 8081",
    ),
)
@click.option(
    "--role",
    type=click.Choice(["all", "worker", "api"]),
    default="all",
    show_default=True,
    help="Consume and deliver, answer the API, or both.",
)
@click.option(
    "--workers", type=click.IntRange(1, LARGE_MACHINE), default=1, show_default=True, help="Delivering processes."
)
@click.option("--api-host", metavar="ADDRESS", help="Goes over the setting api.host.")
@click.option("--api-port", type=click.IntRange(0, 65_535), help="Goes over the setting api.port.")
@click.option("--log-level", metavar="LEVEL", help="Goes over the setting log.level.")
@click.option("--log-format", metavar="FORMAT", help="Goes over the setting log.format.")
@click.pass_obj
def serve(
    session: Session,
    /,
    *,
    role: str,
    workers: int,
    api_host: str | None,
    api_port: int | None,
    log_level: str | None,
    log_format: str | None,
) -> int:
    """Run the router until SIGTERM or Ctrl-C."""
    overrides = {
        "api.host": api_host,
        "api.port": api_port,
        "log.format": log_format,
        "log.level": log_level,
    }
    return session.serve(overrides, role=role, workers=workers)


@click.command(
    "check-config",
    cls=Command,
    examples=(
        "webhook-router check-config",
        "webhook-router check-config --config router.toml --json",
    ),
)
@json_option
@click.pass_obj
def check_config(session: Session, /, *, as_json: bool) -> None:
    """Show every setting and where it comes from.

    Passwords are masked. Where something is wrong, all of it is said at once, and the exit code is 78.
    """
    described = session.describe_settings()
    if as_json:
        output.print_json([{"key": key, "value": value, "origin": origin} for key, value, origin in described])
    else:
        rows = [[output.shown(cell) for cell in setting] for setting in described]
        output.print_table(("SETTING", "VALUE", "FROM"), rows)
    output.note("The configuration is sound.")


@click.command(
    "demo",
    cls=Command,
    examples=("webhook-router demo", "webhook-router demo --seconds 20 --rate 50"),
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Stop by itself after this long.")
@click.option("--rate", type=click.FloatRange(0, 10_000, min_open=True), help="Events published per second.")
@click.option("--accounts", type=click.IntRange(1, 1_000), help="Customers who receive webhooks.")
@click.option("--seed", type=click.IntRange(0), help="What the random events begin from; the same gives the same.")
@json_option
@click.pass_obj
def demo(
    session: Session,
    /,
    *,
    seconds: float | None,
    rate: float | None,
    accounts: int | None,
    seed: int | None,
    as_json: bool,
) -> int:
    """Show the router at work on this machine.

    Runs a broker, a store, the router, a telephony platform and its customers, until Ctrl-C.
    """
    return session.demo(seconds=seconds, rate=rate, accounts=accounts, seed=seed, as_json=as_json)


@click.command(
    "openapi", cls=Command, examples=("webhook-router openapi > openapi.json", "webhook-router openapi | jq .paths")
)
@click.option("--json", "as_json", is_flag=True, help="Changes nothing: the document is JSON.")
@click.pass_obj
def openapi(session: Session, /, *, as_json: bool) -> None:
    """Print the OpenAPI document of the HTTP API."""
    output.print_json(session.openapi_document())


@click.command(
    "completion",
    cls=Command,
    examples=(
        'eval "$(webhook-router completion bash)"',
        "webhook-router completion fish > ~/.config/fish/completions/webhook-router.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    completer = get_completion_class(shell)
    if completer is None:
        raise click.UsageError(f"click knows no completion for {shell}", ctx)
    click.echo(completer(ctx.find_root().command, {}, "webhook-router", "_WEBHOOK_ROUTER_COMPLETE").source())
