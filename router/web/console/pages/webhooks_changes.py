"""What is done to webhooks: added, edited, paused, resumed, tested, given a new secret, deleted. Acts through the use
cases of the API and the commands, so the same rules and the same audit trail hold."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from router.application import editing, manage, queries, replay, rotation
from router.application.queries import WebhookReport
from router.domain.errors import InvalidInput, Outdated
from router.domain.event import EventType
from router.domain.principal import Scope
from router.domain.webhook import Webhook, WebhookId
from router.web.console.guard import safe_next
from router.web.console.here import url_for
from router.web.console.language import N_
from router.web.console.page import Answer, NoQuery, Page, Route, Shown, route
from router.web.console.pages.webhooks_form import FIELD_LABELS, WebhookForm, Wrong, field_of

_NO_WEBHOOK: Final = N_("No webhook has this id.")
OVERLAPS: Final = (0, 3_600, 86_400, 7 * 86_400)
"""Seconds for which an old secret may sign beside the new one, to choose from beside the setting's."""


# --- adding and editing ----------------------------------------------------------------------------


@route("GET", "/webhooks/new", Scope.MANAGE)
async def ask_for_webhook(page: Page[NoQuery]) -> Answer:
    """The form of a new webhook."""
    form = WebhookForm(account_id=page.account or "", event_type=EventType.CALL.value)
    return _form(page, form, webhook_id=manage.new_webhook_id(page.api.randomness))


@route("POST", "/webhooks/new", Scope.MANAGE)
async def add_webhook(page: Page[NoQuery]) -> Answer:
    """Add a webhook, and show its secret for the only time.

    Its id was drawn with the form: a form that is sent twice makes one webhook.
    """
    form = WebhookForm.typed(page.form)
    webhook_id = page.form.get("webhook_id") or manage.new_webhook_id(page.api.randomness)
    wrong = form.wrong(page.api.country, page.api.egress)
    if wrong:
        return _form(page, form, wrong, webhook_id=webhook_id)
    try:
        new = await manage.add_webhook(
            page.api.registry,
            form.draft(webhook_id),
            country=page.api.country,
            egress=page.api.egress,
            randomness=page.api.randomness,
            now=page.api.now(),
            audit=page.audit,
        )
    except InvalidInput as error:
        if error.field == "id":
            notice = page.gettext("This webhook was added already.")
            return page.redirect(url_for("/webhooks/{id}", id=webhook_id), notice=notice)
        return _form(page, form, {field_of(error): Wrong(error=error)}, webhook_id=webhook_id)
    return page.show("webhooks/secret.html", account=new.webhook.account_id, webhook=new.webhook, secret=new.secret)


@route("GET", "/webhooks/{id}/edit", Scope.MANAGE, missing=_NO_WEBHOOK)
async def ask_for_changes(page: Page[NoQuery]) -> Answer | None:
    """The form of a webhook that there is."""
    webhook = await page.api.reader.webhook(WebhookId(page.id))
    return _form(page, WebhookForm.stored(webhook), webhook=webhook) if webhook else None


@route("POST", "/webhooks/{id}/edit", Scope.MANAGE, missing=_NO_WEBHOOK)
async def edit_webhook(page: Page[NoQuery]) -> Answer | None:
    """Change a webhook, unless somebody else has changed it since the form was shown."""
    webhook = await page.api.reader.webhook(WebhookId(page.id))
    if webhook is None:
        return None
    form, version = WebhookForm.typed(page.form), page.form.get("version")
    wrong = form.wrong(page.api.country, page.api.egress, only=form.changed_from(webhook))
    if version != webhook.version or wrong:
        return _form(page, form, wrong, webhook=webhook, is_outdated=version != webhook.version)
    try:
        changed = await editing.edit_webhook(
            page.api.reader,
            page.api.registry,
            webhook.id,
            form.edit(webhook),
            country=page.api.country,
            egress=page.api.egress,
            now=page.api.now(),
            audit=page.audit,
            seen=[version],
        )
    except InvalidInput as error:
        return _form(page, form, {field_of(error): Wrong(error=error)}, webhook=webhook)
    except Outdated:
        webhook = await page.api.reader.webhook(webhook.id)
        return _form(page, form, webhook=webhook, is_outdated=True) if webhook else None
    notice = page.gettext("The webhook is saved.") if changed else page.gettext("Nothing was changed.")
    return None if changed is None else page.redirect(url_for("/webhooks/{id}", id=page.id), notice=notice)


def _form(
    page: Page[NoQuery],
    form: WebhookForm,
    wrong: dict[str, Wrong] | None = None,
    *,
    webhook: Webhook | None = None,
    webhook_id: str = "",
    is_outdated: bool = False,
) -> Shown:
    """The form with what was typed, and what is wrong beside each field. `is_outdated`: others have changed the webhook
    since, and the form says what differs."""
    errors = {name: _told(page, each) for name, each in (wrong or {}).items()}
    stored = WebhookForm.stored(webhook) if webhook and is_outdated else None
    differing = [
        (FIELD_LABELS[name], getattr(stored, name), getattr(form, name))
        for name in FIELD_LABELS
        if stored is not None and name != "account_id" and getattr(stored, name) != getattr(form, name)
    ]
    return page.show(
        "webhooks/form.html",
        status=400 if errors else 409 if is_outdated else 200,
        **({"account": webhook.account_id} if webhook else {}),
        form=form,
        errors=errors,
        labels={name: page.gettext(label) for name, label in FIELD_LABELS.items()},
        webhook=webhook,
        webhook_id=webhook_id,
        is_outdated=is_outdated,
        differing=differing,
        event_types=list(EventType),
    )


def _told(page: Page[NoQuery], wrong: Wrong) -> str:
    rule = page.rule(wrong.error)
    return rule if wrong.about is None else page.gettext("“%(text)s” %(rule)s", text=wrong.about, rule=rule)


# --- pausing, resuming, deleting -------------------------------------------------------------------


@route("POST", "/webhooks/{id}/pause", Scope.MANAGE, missing=_NO_WEBHOOK)
async def pause_webhook(page: Page[NoQuery]) -> Answer | None:
    """Hold a webhook's deliveries."""
    done = await editing.pause_webhook(
        page.api.reader, page.api.registry, WebhookId(page.id), now=page.api.now(), audit=page.audit
    )
    return None if done is None else page.redirect(_back(page), notice=page.gettext("The webhook is paused."))


@route("POST", "/webhooks/{id}/resume", Scope.MANAGE, missing=_NO_WEBHOOK)
async def resume_webhook(page: Page[NoQuery]) -> Answer | None:
    """End a webhook's pause, or its suspension."""
    is_there = await editing.resume_webhook(
        page.api.reader, page.api.registry, WebhookId(page.id), now=page.api.now(), audit=page.audit
    )
    notice = page.gettext("The webhook is active again.")
    return page.redirect(_back(page), notice=notice) if is_there else None


@route("GET", "/webhooks/{id}/delete", Scope.MANAGE, missing=_NO_WEBHOOK)
async def ask_to_delete(page: Page[NoQuery]) -> Answer | None:
    """What deleting a webhook does, before it is done."""
    report = await queries.find_webhook(page.api.reader, WebhookId(page.id))
    return _confirmation(page, report) if report else None


def _confirmation(page: Page[NoQuery], report: WebhookReport) -> Shown:
    webhook, pending = report.webhook, report.deliveries.pending
    texts = [
        page.gettext("No event goes to %(url)s any more, and the webhook's secret is gone.", url=webhook.url),
        page.ngettext(
            "%(num)s delivery is pending: it is cancelled.",
            "%(num)s deliveries are pending: they are cancelled.",
            pending,
        )
        if pending
        else page.gettext("No delivery is pending."),
        page.gettext("The log of its deliveries is kept. This cannot be undone; pausing can."),
    ]
    return page.show(
        "confirm.html",
        account=webhook.account_id,
        title=page.gettext("Delete the webhook “%(name)s”?", name=webhook.name or webhook.id),
        texts=texts,
        action=url_for("/webhooks/{id}/delete", id=webhook.id),
        button=page.gettext("Delete the webhook"),
        back=url_for("/webhooks/{id}", id=webhook.id),
    )


@route("POST", "/webhooks/{id}/delete", Scope.MANAGE, missing=_NO_WEBHOOK)
async def delete_webhook(page: Page[NoQuery]) -> Answer | None:
    """Delete a webhook."""
    webhook = await page.api.reader.webhook(WebhookId(page.id))
    if webhook is None:
        return None
    is_deleted = await editing.delete_webhook(page.api.reader, page.api.registry, webhook.id, audit=page.audit)
    notice = page.gettext("The webhook “%(name)s” is deleted.", name=webhook.name or webhook.id)
    return page.redirect(url_for("/webhooks", account=webhook.account_id), notice=notice) if is_deleted else None


def _back(page: Page[NoQuery]) -> str:
    """Where the button was pressed: the list, or the webhook's page."""
    target = page.form.get("back")
    return safe_next(target) if target else url_for("/webhooks/{id}", id=page.id)


@route("POST", "/webhooks/{id}/test", Scope.MANAGE, missing=_NO_WEBHOOK)
async def send_test(page: Page[NoQuery]) -> Answer | None:
    """Have a made-up event sent; the webhook's page waits for the answer."""
    delivery = await replay.send_test(
        page.api.replays,
        page.api.reader,
        WebhookId(page.id),
        now=page.api.now(),
        randomness=page.api.randomness,
        audit=page.audit,
    )
    return page.redirect(url_for("/webhooks/{id}", id=page.id, test=delivery.id)) if delivery else None


# --- secrets ---------------------------------------------------------------------------------------


@route("GET", "/webhooks/{id}/rotate", Scope.MANAGE, missing=_NO_WEBHOOK)
async def ask_to_rotate(page: Page[NoQuery]) -> Answer | None:
    """Which key is renewed, and how long the old secret goes on beside the new one."""
    webhook = await page.api.reader.webhook(WebhookId(page.id))
    if webhook is None:
        return None
    usual = int(page.api.rotation_overlap.total_seconds())
    return page.show(
        "webhooks/rotate.html",
        account=webhook.account_id,
        webhook=webhook,
        overlaps=[(seconds, timedelta(seconds=seconds)) for seconds in sorted({*OVERLAPS, usual})],
        usual=usual,
    )


@route("POST", "/webhooks/{id}/rotate", Scope.MANAGE, missing=_NO_WEBHOOK)
async def rotate(page: Page[NoQuery]) -> Answer | None:
    """Give a webhook a new secret, shown for the only time, or a new ed25519 key, whose public part may be seen."""
    api, webhook_id = page.api, WebhookId(page.id)
    if page.form.get("key") == "asymmetric":
        is_there = await rotation.renew_signing_key(
            api.reader, api.registry, webhook_id, randomness=api.randomness, now=api.now(), audit=page.audit
        )
        notice = page.gettext("The webhook has a new ed25519 key. Give its public key to who verifies signatures.")
        return page.redirect(url_for("/webhooks/{id}", id=page.id), notice=notice) if is_there else None
    typed = page.form.get("overlap")
    seconds = int(typed) if typed.isascii() and typed.isdigit() and len(typed) < 10 else -1
    secret = await rotation.rotate_secret(
        api.reader,
        api.registry,
        webhook_id,
        overlap=timedelta(seconds=seconds),
        randomness=api.randomness,
        now=api.now(),
        audit=page.audit,
    )
    webhook = await api.reader.webhook(webhook_id)
    if webhook is None or secret is None:
        return None
    return page.show(
        "webhooks/secret.html",
        account=webhook.account_id,
        webhook=webhook,
        secret=secret,
        overlap=timedelta(seconds=seconds),
    )


CHANGES: Final[tuple[Route, ...]] = (
    ask_for_webhook,
    add_webhook,
    ask_for_changes,
    edit_webhook,
    pause_webhook,
    resume_webhook,
    ask_to_delete,
    delete_webhook,
    ask_to_rotate,
    rotate,
    send_test,
)
