"""Every endpoint of the API. What is not listed here is neither served nor documented."""

from __future__ import annotations

from typing import Final

from router.web.api.endpoints import Endpoint
from router.web.api.managing import MANAGING
from router.web.api.overview import OVERVIEW
from router.web.api.reading import READING
from router.web.api.replaying import REPLAYING
from router.web.api.tokens import TOKENS

ENDPOINTS: Final[tuple[Endpoint, ...]] = (*READING, *OVERVIEW, *MANAGING, *REPLAYING, *TOKENS)
