"""What commands need of the outside: a publisher, and the API's own description."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from router.adapters.rabbitmq import publisher
from router.bootstrap import convert
from router.ports import Publisher
from router.settings import Settings
from router.web.api.openapi import openapi_document as _document


@asynccontextmanager
async def open_publisher(settings: Settings) -> AsyncIterator[Publisher]:
    """Publishes to the broker of the settings. Raises DependencyUnavailable or ConfigurationRefused."""
    async with publisher.open_publisher(convert.broker(settings)) as opened:
        yield opened


def openapi_document() -> dict[str, Any]:
    return _document()
