"""The command line where it takes secrets and gives new ones: from files and stdin, shown once."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from router.domain.credentials import BasicAuth, OAuth2Auth
from router.domain.signing import Secret, SigningKey, parse_secret
from router.domain.webhook import Webhook, WebhookId
from tests.support.fakes_manage import NOW
from tests.support.terminal import ADD, CRM, Terminal, terminal_in

LEAF = trustme.CA().issue_cert("client.example.com", common_name="router")


@pytest.fixture(autouse=True)
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return terminal_in(tmp_path, monkeypatch)


def added(terminal: Terminal) -> Webhook:
    (webhook,) = (each for identity, each in terminal.store.definitions.items() if identity != CRM.id)
    return webhook


# --- add -------------------------------------------------------------------------------------------


def test_authentication_comes_from_stdin_and_is_not_shown(terminal: Terminal) -> None:
    auth = {"type": "basic", "username": "router", "password": "hush"}

    result = terminal.run(f"{ADD} --auth-file -", stdin=json.dumps(auth).encode())

    assert result.exit_code == 0, result.output
    assert added(terminal).auth == BasicAuth(username="router", password="hush")
    assert "basic, as router" in result.stdout
    assert "hush" not in result.output


def test_authentication_headers_and_certificate_come_from_files(terminal: Terminal) -> None:
    auth = {"type": "oauth2", "token_url": "https://x.example/t?k=hush", "client_id": "c", "client_secret": "hush"}
    Path("auth.json").write_text(json.dumps(auth))
    Path("headers.json").write_text('{"X-Key": "hush"}')
    LEAF.cert_chain_pems[0].write_to_path("client.pem")
    LEAF.private_key_pem.write_to_path("client.key")

    files = "--auth-file auth.json --headers-file headers.json --client-cert client.pem --client-key client.key"
    result = terminal.run(f"{ADD} {files} --asymmetric")

    assert result.exit_code == 0, result.output
    webhook = added(terminal)
    assert isinstance(webhook.auth, OAuth2Auth)
    assert webhook.headers == (("X-Key", "hush"),)
    assert webhook.client_certificate is not None
    assert webhook.signing_key is not None
    assert webhook.signing_key.public_key in result.stdout
    assert "oauth2, as c at https://x.example/t" in result.stdout
    for hidden in ("hush", "PRIVATE", "whsk_"):
        assert hidden not in result.output


@pytest.mark.parametrize(
    ("options", "stdin", "told"),
    [
        ("--auth-file -", b"hush", "--auth-file: the file holds no JSON"),
        ("--auth-file -", b"\xffhush", "--auth-file: the file holds no JSON"),
        ("--auth-file -", b'{"type":"bearer","token":"hush hush"}', "--auth-file: token must be"),
        (
            "--auth-file - --header Authorization=x",
            b'{"type":"bearer","token":"hush"}',
            "--auth-file: cannot be beside",
        ),
        ("--headers-file -", b'["hush"]', "--header: must be an object"),
        ("--headers-file - --header A=b", b"{}", "exclude each other"),
        ("--client-cert -", b"hush", "--client-cert and --client-key go together"),
        ("--client-key -", b"hush", "--client-cert and --client-key go together"),
        ("--auth-file nowhere.json", b"", "nowhere.json"),
    ],
)
def test_what_is_wrong_names_the_option_and_quotes_no_secret(
    options: str, stdin: bytes, told: str, terminal: Terminal
) -> None:
    result = terminal.run(f"{ADD} {options}", stdin=stdin)

    assert result.exit_code == 64
    assert told in " ".join(result.stderr.split())
    assert "hush" not in result.output


# --- rotate-secret ---------------------------------------------------------------------------------


def rotated(terminal: Terminal) -> Webhook:
    return terminal.store.definitions[WebhookId("wh_crm")]


@pytest.mark.parametrize(
    ("option", "overlap"),
    [("", timedelta(days=1)), ("--overlap 90s", timedelta(seconds=90)), ("--overlap 30d", timedelta(days=30))],
)
def test_a_new_secret_is_shown_once_and_the_old_one_ends(option: str, overlap: timedelta, terminal: Terminal) -> None:
    terminal.store.definitions[CRM.id] = with_secret()

    shown = terminal.data(f"webhooks rotate-secret wh_crm {option}")

    assert rotated(terminal).secrets == (Secret(parse_secret(shown["secret"])), Secret(b"old", NOW + overlap))
    assert shown["secret"] not in terminal.run("webhooks show wh_crm").output


def test_an_overlap_of_nothing_ends_the_old_secret_now(terminal: Terminal) -> None:
    terminal.store.definitions[CRM.id] = with_secret()

    result = terminal.run("webhooks rotate-secret wh_crm --overlap 0s")

    assert result.exit_code == 0, result.output
    assert len(rotated(terminal).secrets) == 1
    assert "whsec_" in result.stdout
    assert "shown this once" in result.stderr


def test_the_ed25519_key_is_renewed_and_its_public_key_shown(terminal: Terminal) -> None:
    terminal.store.definitions[CRM.id] = with_secret()

    result = terminal.run("webhooks rotate-secret wh_crm --asymmetric")

    assert result.exit_code == 0, result.output
    key = rotated(terminal).signing_key
    assert isinstance(key, SigningKey)
    assert key.public_key in result.stdout
    assert rotated(terminal).secrets == (Secret(b"old"),)


@pytest.mark.parametrize(
    ("options", "exit_code", "told"),
    [
        ("wh_crm --overlap soon", 64, "is no duration"),
        ("wh_crm --overlap 31d", 64, "--overlap: must be"),
        ("wh_crm --asymmetric --overlap 1h", 64, "--overlap goes with a secret"),
        ("wh_nobody", 1, "there is no webhook"),
    ],
)
def test_what_cannot_be_rotated(options: str, exit_code: int, told: str, terminal: Terminal) -> None:
    result = terminal.run(f"webhooks rotate-secret {options}")

    assert result.exit_code == exit_code
    assert told in " ".join(result.stderr.split())


def with_secret() -> Webhook:
    return Webhook(
        id=CRM.id,
        account_id=CRM.account_id,
        name=CRM.name,
        url=CRM.url,
        event_type=CRM.event_type,
        enabled=True,
        secrets=(Secret(b"old"),),
    )
