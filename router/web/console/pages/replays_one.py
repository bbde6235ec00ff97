"""One delivery or a few of them sent again: at once, without a document in between."""

from __future__ import annotations

from typing import Final

from router.application import replay
from router.domain.delivery import Delivery, DeliveryId
from router.domain.errors import Conflict, InvalidInput
from router.domain.principal import Scope
from router.web.console.guard import safe_next
from router.web.console.here import url_for
from router.web.console.language import N_
from router.web.console.page import Answer, NoQuery, Page, Route, Shown, route
from router.web.console.rules import translate_rule

MAX_SELECTED: Final = 200
"""Deliveries of one selection: a page of a list. More are a replay of their own."""
_NO_DELIVERY: Final = N_("No delivery has this id.")


# --- one -------------------------------------------------------------------------------------------


@route("GET", "/deliveries/{id}/replay", Scope.REPLAY, missing=_NO_DELIVERY)
async def ask_to_replay(page: Page[NoQuery]) -> Answer | None:
    """What sending a delivery again means, with room for a reason."""
    found = await page.api.reader.delivery(DeliveryId(page.id))
    return _one(page, found[0]) if found else None


@route("POST", "/deliveries/{id}/replay", Scope.REPLAY, missing=_NO_DELIVERY)
async def replay_delivery(page: Page[NoQuery]) -> Answer | None:
    """Send a delivery again."""
    identity = DeliveryId(page.id)
    try:
        delivery = await _replay(page, identity)
    except (Conflict, InvalidInput) as error:
        found = await page.api.reader.delivery(identity)
        return _one(page, found[0], error) if found else None
    notice = page.gettext("The delivery is sent again.")
    return page.redirect(url_for("/deliveries/{id}", id=page.id), notice=notice) if delivery else None


async def _replay(page: Page[NoQuery], identity: DeliveryId) -> Delivery | None:
    return await replay.replay_delivery(
        page.api.replays,
        page.api.reader,
        identity,
        reason=page.form.get("reason") or None,
        now=page.api.now(),
        audit=page.audit,
    )


def _one(page: Page[NoQuery], delivery: Delivery, error: Conflict | InvalidInput | None = None) -> Shown:
    is_rule = isinstance(error, InvalidInput)
    return page.show(
        "replays/one.html",
        status=200 if error is None else 400 if is_rule else 409,
        account=delivery.account_id,
        delivery=delivery,
        conflict=translate_rule(page.language, str(error)) if isinstance(error, Conflict) else None,
        reason=page.form.get("reason"),
        errors={"reason": page.rule(error)} if isinstance(error, InvalidInput) else {},
    )


# --- a selection -----------------------------------------------------------------------------------


@route("POST", "/replays/selection", Scope.REPLAY)
async def replay_selection(page: Page[NoQuery]) -> Answer:
    """Show what was ticked in a list; with `sure`, send it again. `back` is where the list is."""
    ids = [DeliveryId(identity) for identity in dict.fromkeys(page.form.all("id"))]
    back = safe_next(page.form.get("back") or "/deliveries")
    if not ids:
        return page.redirect(back, notice=page.gettext("Nothing is ticked, so nothing is sent again."))
    error: InvalidInput | None = None
    if len(ids) > MAX_SELECTED:
        error = InvalidInput("id", f"must be at most {MAX_SELECTED}")
    elif page.form.has("sure"):
        try:
            return await _send_selected(page, ids, back)
        except InvalidInput as found:
            error = found
    return page.show(
        "replays/selection.html",
        status=400 if error else 200,
        ids=ids,
        back=back,
        reason=page.form.get("reason"),
        errors={error.field: page.rule(error)} if error else {},
        left=[],
    )


async def _send_selected(page: Page[NoQuery], ids: list[DeliveryId], back: str) -> Answer:
    """Each by itself: one that cannot be sent does not stop the others, and the page says which."""
    left: list[tuple[DeliveryId, str]] = []
    for identity in ids:
        try:
            if await _replay(page, identity) is None:
                left.append((identity, page.gettext("No delivery has this id.")))
        except Conflict as error:
            left.append((identity, translate_rule(page.language, str(error))))
    done = len(ids) - len(left)
    notice = page.ngettext("%(num)s delivery is sent again.", "%(num)s deliveries are sent again.", done)
    if not left:
        return page.redirect(back, notice=notice)
    return page.show("replays/selection.html", ids=[], back=back, reason="", errors={}, left=left, said=notice)


ONE: Final[tuple[Route, ...]] = (ask_to_replay, replay_delivery, replay_selection)
