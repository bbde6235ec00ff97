"""Every page of the console. What is not listed here is not served."""

from __future__ import annotations

from typing import Final

from router.web.console.page import Route
from router.web.console.pages.replays import REPLAYS
from router.web.console.pages.webhooks import WEBHOOKS

PAGES: Final[tuple[Route, ...]] = (*WEBHOOKS, *REPLAYS)
