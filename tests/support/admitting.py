"""Events and deliveries in a store, as a worker puts them there whose customers take their time. Touches the store."""

from __future__ import annotations

from collections.abc import Sequence

from router.domain.delivery import Claim
from router.ports import DeliveryStore, PlannedEvent


async def admitted(store: DeliveryStore, planned: Sequence[PlannedEvent]) -> list[Claim]:
    """The claims that the worker holds."""
    drafts = await store.admit(planned)
    if drafts:
        await store.insert(drafts, {})
    return [draft.claim for draft in drafts if draft.delivery.leased]
