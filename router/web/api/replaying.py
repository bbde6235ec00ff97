"""The endpoints that have something sent: replays of one delivery or of many, and tests of a webhook."""

from __future__ import annotations

from typing import Final

from router.application import queries, replay
from router.domain.delivery import DeliveryId
from router.domain.principal import Scope
from router.domain.replay import ReplayId
from router.domain.webhook import WebhookId
from router.web.api import replay_objects, views
from router.web.api.endpoints import Api, Call, Endpoint, endpoint
from router.web.api.objects import DeliveryObject
from router.web.api.params import NoQuery
from router.web.api.replay_objects import (
    NewReplay,
    ReplayObject,
    ReplayPage,
    ReplayPreview,
    ReplayQuery,
    ReplayReason,
)

_NO_REPLAY: Final = "no replay has this id"


@endpoint(
    "POST", "/v1/deliveries/{id}/replay", Scope.REPLAY, status=202, missing="no delivery has this id", may_conflict=True
)
async def replay_delivery(api: Api, call: Call[NoQuery, ReplayReason]) -> DeliveryObject | None:
    """Send a delivery again, whatever its end.

    The same bytes under the same `webhook-id`, marked by `x-webhook-replay`, with its whole schedule of retries; also
    where the webhook is paused or suspended. 409 where its payload or its webhook is gone, and while it is attempted.
    """
    delivery = await replay.replay_delivery(
        api.replays, api.reader, DeliveryId(call.id), reason=call.body.reason, now=api.now(), audit=call.audit
    )
    return views.delivery_object(delivery) if delivery else None


@endpoint(
    "POST", "/v1/webhooks/{id}/test", Scope.MANAGE, status=202, missing="no webhook has this id", may_conflict=True
)
async def test_webhook(api: Api, call: Call[NoQuery, None]) -> DeliveryObject | None:
    """Send a made-up event to a webhook, once.

    Also where it is paused or suspended. The answer is the delivery, which shows how it went as soon as it did. 409
    where the definition is wrong.
    """
    delivery = await replay.send_test(
        api.replays, api.reader, WebhookId(call.id), now=api.now(), randomness=api.randomness, audit=call.audit
    )
    return views.delivery_object(delivery) if delivery else None


@endpoint("POST", "/v1/replays", Scope.REPLAY, status=202, missing="no webhook has this id", may_conflict=True)
async def create_replay(api: Api, call: Call[NoQuery, NewReplay]) -> ReplayObject | ReplayPreview:
    """Send many deliveries again, or events that matched nothing.

    It is worked off in the background, the oldest first. 409 where too many replays of the account run.
    """
    draft = call.body.draft(api.country)
    if call.body.dry_run:
        plan = await replay.plan_replay(api.replays, api.reader, draft, by=call.principal, now=api.now())
        return replay_objects.preview_object(plan)
    new = await replay.start_replay(
        api.replays,
        api.reader,
        draft,
        default_per_second=api.replay_rate,
        by=call.principal,
        now=api.now(),
        randomness=api.randomness,
        audit=call.audit,
    )
    return replay_objects.replay_object(new)


@endpoint("GET", "/v1/replays", Scope.REPLAY)
async def list_replays(api: Api, call: Call[ReplayQuery, None]) -> ReplayPage:
    """List replays, the newest first."""
    page = await queries.list_replays(api.replays, call.query.account(), call.query.page())
    return replay_objects.replay_page(page)


@endpoint("GET", "/v1/replays/{id}", Scope.REPLAY, missing=_NO_REPLAY)
async def get_replay(api: Api, call: Call[NoQuery, None]) -> ReplayObject | None:
    """Show a replay and how far it is."""
    found = await api.replays.replay(ReplayId(call.id))
    return replay_objects.replay_object(found) if found else None


@endpoint("POST", "/v1/replays/{id}/cancel", Scope.REPLAY, missing=_NO_REPLAY)
async def cancel_replay(api: Api, call: Call[NoQuery, None]) -> ReplayObject | None:
    """Release nothing more of a replay.

    What it has released goes on, which is at most 100 deliveries at a time. One that is over stays as it is.
    """
    found = await replay.cancel_replay(api.replays, ReplayId(call.id), now=api.now(), audit=call.audit)
    return replay_objects.replay_object(found) if found else None


REPLAYING: Final[tuple[Endpoint, ...]] = (
    replay_delivery,
    test_webhook,
    create_replay,
    list_replays,
    get_replay,
    cancel_replay,
)
