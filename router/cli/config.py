"""`config`: what is set, where it was written, and what may be set at all. Reads the settings; changes nothing."""

from __future__ import annotations

import click

from router.cli import output
from router.cli.base import Group
from router.cli.options import json_option
from router.cli.session import Session


@click.group("config", cls=Group)
def config() -> None:
    """The configuration: what counts, and what could be said."""


@config.example_command(
    "show",
    "webhook-router config show",
    "webhook-router config show --origin egress delivery.call",
    "webhook-router config show --json",
)
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--origin", is_flag=True, help="Say of each value whether a flag, the environment or a file has it.")
@json_option
@click.pass_obj
def show(session: Session, /, *, keys: tuple[str, ...], origin: bool, as_json: bool) -> None:
    """Show the settings that count, or those under each KEY.

    Secrets are masked. Where something is wrong, all of it is said at once, and the exit code is 78.
    """
    described = [
        each for each in session.describe_settings() if not keys or any(_is_under(each[0], key) for key in keys)
    ]
    if not described:
        raise click.UsageError(f"there is no setting under {' or '.join(keys)}", click.get_current_context(silent=True))
    columns = ("key", "value", "origin") if origin or as_json else ("key", "value")
    if as_json:
        output.print_json([dict(zip(columns, setting, strict=False)) for setting in described])
        return
    rows = [[output.shown(cell) for cell in setting[: len(columns)]] for setting in described]
    output.print_table(("SETTING", "VALUE", "FROM")[: len(columns)], rows)


def _is_under(setting: str, key: str) -> bool:
    return setting == key or setting.startswith((f"{key}.", f"{key}["))


@config.example_command("schema", "webhook-router config schema > router.schema.json")
@click.option("--json", "as_json", is_flag=True, help="Changes nothing: the document is JSON.")
@click.pass_obj
def schema(session: Session, /, *, as_json: bool) -> None:
    """Print the JSON Schema of the TOML file, for editors and pipelines."""
    output.print_json(session.config_schema())
