"""Asks a router that runs, over its own HTTP API, as a health check does. Touches one socket, and loads no library."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Final

MAX_ANSWER_BYTES: Final = 262_144
_ANY_ADDRESS: Final[Mapping[str, str]] = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  read only


def ask(host: str, port: int, path: str, timeout_seconds: float) -> tuple[int, str]:
    """Status and text of the answer; 0 and why where there is none. `host` is where the router listens."""
    connection = http.client.HTTPConnection(_ANY_ADDRESS.get(host, host), port, timeout=timeout_seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(MAX_ANSWER_BYTES).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return 0, (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    finally:
        connection.close()
