"""Where a request that was let in keeps who sends it."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from router.domain.principal import Principal

PRINCIPAL: Final = web.RequestKey("principal", Principal)
