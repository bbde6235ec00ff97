"""What proves to a customer's server who sends: read from files or stdin, so that it need not be on a command line,
where other users of the machine and the shell's history see it. Decides on texts; the rules are the domain's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final, Self

import click

MAX_FILE_BYTES: Final = 131_072
"""More than any of them may have."""

_FILE: Final = click.File("rb")

_OPTIONS: Final = (
    click.option("--headers-file", type=_FILE, metavar="FILE", help="JSON object of headers to add; - is stdin."),
    click.option(
        "--auth-file",
        type=_FILE,
        metavar="FILE",
        help="JSON object of the authentication: type basic, bearer or oauth2, and its fields; - is stdin.",
    ),
    click.option("--client-cert", type=_FILE, metavar="FILE", help="PEM file of the certificate for mutual TLS."),
    click.option("--client-key", type=_FILE, metavar="FILE", help="PEM file of its key; - is stdin."),
)


def credential_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options that `Credentials.read` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What was read; nothing of it is checked."""

    headers: object = field(repr=False)
    auth: object = field(repr=False)
    client_certificate: object = field(repr=False)

    @classmethod
    def read(
        cls,
        typed_headers: Mapping[str, str],
        *,
        headers_file: IO[bytes] | None,
        auth_file: IO[bytes] | None,
        client_cert: IO[bytes] | None,
        client_key: IO[bytes] | None,
    ) -> Self:
        """Raises UsageError for a file that is none; its text quotes nothing of the file."""
        if (client_cert is None) != (client_key is None):
            raise click.UsageError("--client-cert and --client-key go together", click.get_current_context())
        certificate = None
        if client_cert is not None and client_key is not None:
            certificate = {"certificate": _text(client_cert), "key": _text(client_key)}
        headers: object = typed_headers
        if headers_file is not None:
            if typed_headers:
                raise click.UsageError("--header and --headers-file exclude each other", click.get_current_context())
            headers = _json(headers_file, "--headers-file")
        auth = None if auth_file is None else _json(auth_file, "--auth-file")
        return cls(headers=headers, auth=auth, client_certificate=certificate)


def _json(file: IO[bytes], option: str) -> object:
    try:
        return json.loads(_text(file))
    except (ValueError, RecursionError):
        raise click.UsageError(f"{option}: the file holds no JSON", click.get_current_context()) from None


def _text(file: IO[bytes]) -> str:
    # A surrogate for what is no UTF-8: no rule of the domain lets one pass.
    return file.read(MAX_FILE_BYTES).decode("utf-8", "surrogateescape")
