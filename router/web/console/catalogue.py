"""Every page of the console. What is not listed here is not served."""

from __future__ import annotations

from typing import Final

from router.web.console.page import Route
from router.web.console.pages.calls import CALLS
from router.web.console.pages.deliveries import DELIVERIES
from router.web.console.pages.deliveries_one import DELIVERY
from router.web.console.pages.health import HEALTH
from router.web.console.pages.health_letters import LETTERS
from router.web.console.pages.replays import REPLAYS
from router.web.console.pages.search import SEARCH
from router.web.console.pages.webhooks import WEBHOOKS

PAGES: Final[tuple[Route, ...]] = (*WEBHOOKS, *DELIVERIES, *DELIVERY, *CALLS, *SEARCH, *REPLAYS, *HEALTH, *LETTERS)
