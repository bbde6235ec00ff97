"""How a webhook looks on a terminal: as a row, as a record, and the sentence where there is none. Prints."""

from __future__ import annotations

from typing import assert_never

from router.application import queries
from router.application.queries import WebhookReport
from router.cli import output, views
from router.cli.base import CommandFailedError
from router.domain.credentials import Auth, BasicAuth, BearerAuth, ClientCertificate, OAuth2Auth
from router.domain.edit import EditPlan
from router.domain.webhook import TrackingNumberRestriction, UserRestriction, Webhook


def not_found(webhook_id: str) -> CommandFailedError:
    return CommandFailedError(
        f"there is no webhook {output.shown(webhook_id)}; `webhook-router webhooks list` shows those there are"
    )


def print_report(report: WebhookReport | None, webhook_id: str, *, as_json: bool) -> None:
    if report is None:
        raise not_found(webhook_id)
    if as_json:
        output.print_json(views.webhook(report))
    else:
        output.print_record(fields(report))


def row(report: WebhookReport) -> output.Row:
    webhook, counts = report.webhook, report.deliveries
    # Without its query, which may hold a token; `show` has the whole.
    url, _, _ = webhook.url.partition("?")
    values = (webhook.id, webhook.account_id, webhook.name, webhook.event_type, webhook.state, url)
    return [output.shown(value) for value in (*values, counts.pending, counts.failed, counts.total)]


def fields(report: WebhookReport) -> list[tuple[str, object]]:
    webhook, counts = report.webhook, report.deliveries
    reason = queries.state_reason(webhook)
    return [
        ("webhook", webhook.id),
        ("account", webhook.account_id),
        ("name", webhook.name),
        ("url", webhook.url),
        ("event type", webhook.event_type),
        ("state", f"{webhook.state}: {reason}" if reason else webhook.state),
        ("restricted to", _restriction_text(webhook)),
        ("headers", _headers_text(webhook)),
        ("auth", _auth_text(webhook.auth)),
        ("certificate", _certificate_text(webhook.client_certificate)),
        ("signatures", _signing_text(webhook)),
        (
            "deliveries",
            f"{counts.total} ({counts.delivered} delivered, {counts.failed} failed, {counts.pending} pending)",
        ),
        ("created", webhook.created_at),
        ("updated", webhook.updated_at),
    ]


def changes(plan: EditPlan) -> list[output.Row]:
    """Field, before and after of each change. No value of a secret is shown, only that it is another one."""
    rows: list[output.Row] = []
    for name in plan.changed:
        before, after = _field_text(plan.before, name), _field_text(plan.after, name)
        if name in plan.before.wrong:
            before = f"wrong: {before}" if name == "url" else "wrong"  # of the others, what was wrong is not read
        elif before == after:
            after += " (another value)"
        rows.append([name, output.shown(before), output.shown(after)])
    return rows


def _field_text(webhook: Webhook, name: str) -> str:
    match name:
        case "restrict_to":
            return _restriction_text(webhook)
        case "headers":
            return _headers_text(webhook)
        case "auth":
            return _auth_text(webhook.auth)
        case "client_certificate":
            return _certificate_text(webhook.client_certificate)
        case _:
            return output.shown(getattr(webhook, name))


def _headers_text(webhook: Webhook) -> str:
    # Their values may be keys of the customer's system.
    return ", ".join(name for name, _ in webhook.headers)


def _restriction_text(webhook: Webhook) -> str:
    match webhook.restriction:
        case TrackingNumberRestriction(numbers=numbers):
            return ", ".join(sorted(numbers))
        case UserRestriction(user_id=user_id):
            return f"user {user_id}"
        case None:
            return "every event of the type"


def _auth_text(auth: Auth | None) -> str:
    match auth:
        case None:
            return ""
        case BasicAuth():
            return f"basic, as {auth.username}"
        case BearerAuth():
            return "bearer"
        case OAuth2Auth():
            # Without its query, which may hold a token.
            return f"oauth2, as {auth.client_id} at {auth.token_url.partition('?')[0]}"
        case _:
            assert_never(auth)


def _certificate_text(certificate: ClientCertificate | None) -> str:
    if certificate is None:
        return ""
    return f"{certificate.subject}, until {certificate.not_after:%Y-%m-%d}"


def _signing_text(webhook: Webhook) -> str:
    """What signs, each secret with its end, and the public key of v1a."""
    ends = [secret.expires_at for secret in webhook.secrets]
    texts = ["v1" if end is None else f"v1 until {end:%Y-%m-%dT%H:%M:%SZ}" for end in ends]
    if webhook.signing_key is not None:
        texts.append(f"v1a {webhook.signing_key.public_key}")
    return ", ".join(texts) or "none"
