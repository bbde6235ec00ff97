"""What other programs ask of this one: is the router well, which version is this. Asks the port of the settings."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import click

from router import __version__
from router.adapters.probing import ask
from router.cli import output
from router.cli.base import Command, ExitCode
from router.cli.options import json_option
from router.cli.session import Session

LIBRARIES: Final = (
    "aio-pika",
    "aiohttp",
    "aiormq",
    "motor",
    "pydantic",
    "pymongo",
    "uvloop",
    "cryptography",
    "secantusdb",
)
"""Those whose version explains a behaviour; the last one is there in trials only."""


@click.command(
    "healthcheck",
    cls=Command,
    examples=("webhook-router healthcheck", "webhook-router healthcheck --ready --timeout 2"),
)
@click.option("--ready", is_flag=True, help="Ask /readyz (can it work?) instead of /livez (should it be restarted?).")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 60),
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the answer may take.",
)
@json_option
@click.pass_obj
def healthcheck(session: Session, /, *, ready: bool, timeout: float, as_json: bool) -> ExitCode:
    """Ask the router of these settings how it is: 0 well, 1 not.

    For containers: it needs no other program in the image. It asks at api.host, on api.probes_port where that is set,
    else on api.port.
    """
    host, port = session.probes_address()
    path = "/readyz" if ready else "/livez"
    if port == 0:
        raise click.UsageError("the port is 0, so nobody knows where the router listens")
    status, answer = ask(host, port, path, timeout)
    if as_json:
        output.print_json({"path": path, "status": status, "well": status == 200, "answer": answer})
    else:
        click.echo(f"{path} {status or 'unanswered'}: {output.harmless(answer)}")
    return ExitCode.OK if status == 200 else ExitCode.FAILED


@click.command("version", cls=Command, examples=("webhook-router version", "webhook-router version --json"))
@json_option
def version_(*, as_json: bool) -> None:
    """Print the version, with that of Python and of the libraries that matter."""
    facts = {"webhook-router": __version__, "python": platform.python_version(), **_libraries()}
    if as_json:
        output.print_json(facts)
    else:
        output.print_record(facts.items())


def _libraries() -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
