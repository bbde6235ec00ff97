"""The root of the command line: puts the commands together. Decides nothing."""

from __future__ import annotations

import click

from router import __version__
from router.cli.accounts import accounts
from router.cli.audit import audit
from router.cli.base import Cli, config_option
from router.cli.config import config
from router.cli.dead_letters import dead_letters
from router.cli.deliveries import deliveries
from router.cli.doctor import doctor
from router.cli.events import events
from router.cli.indexes import indexes
from router.cli.migrating import migrate
from router.cli.privacy import privacy
from router.cli.probing import healthcheck, version_
from router.cli.replays import replays
from router.cli.sealing import secrets
from router.cli.search import search_
from router.cli.service import check_config, completion, demo, openapi, serve
from router.cli.session import Session
from router.cli.testing import send_test
from router.cli.tokens import tokens
from router.cli.topology import topology
from router.cli.webhooks import webhooks


@click.group(
    "webhook-router", cls=Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="webhook-router", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Takes telephony events from RabbitMQ and delivers them to customers' webhooks.

    Settings come from --config, the environment (ROUTER_…) and config/router.toml; `check-config` shows them.
    """
    ctx.ensure_object(Session)


cli.params.append(config_option())
for command in (
    serve,
    check_config,
    config,
    doctor,
    healthcheck,
    demo,
    accounts,
    webhooks,
    deliveries,
    replays,
    dead_letters,
    search_,
    events,
    tokens,
    secrets,
    audit,
    privacy,
    migrate,
    topology,
    indexes,
    openapi,
    completion,
    version_,
):
    cli.add_command(command)
webhooks.add_command(send_test)
