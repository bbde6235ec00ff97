"""Reading answers: aiohttp's reader, made to keep an answer's status whatever follows it.

aiohttp parses a segment as a whole, so a body that lies about its length or is chunked wrongly takes the status
line before it down with it, and a delivered event would be sent again. Here the head is parsed by itself first.
Touches one connection.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import StreamReader
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage

from router.adapters.http.trail import TRAIL, Trail

_END_OF_HEAD: Final = b"\r\n\r\n"


class AnswerProtocol(ResponseHandler):
    """One connection, used for one request after the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._trail = Trail()
        self._in_head = False
        self._edge = b""

    def set_response_params(self, **params: Any) -> None:
        """A request is about to be written; called by aiohttp in the sending task."""
        self._trail = TRAIL.get()
        self._trail.connected = True
        self._in_head = True
        self._edge = b""
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._trail.heard = True
            self._receive_head(data)
        elif data and self._is_answered():
            # Nobody asked for this. Kept, it would be read as the answer to the next request.
            self.close()
        else:
            super().data_received(data)

    def _receive_head(self, data: bytes) -> None:
        window = self._edge + data
        found = window.find(_END_OF_HEAD)
        if found < 0:
            self._edge = window[-3:]
            super().data_received(data)
            return
        cut = found + len(_END_OF_HEAD) - len(self._edge)
        self._edge = b""
        super().data_received(data[:cut])
        if cut < len(data) and self.exception() is None:
            super().data_received(data[cut:])

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """A head was parsed; after 1xx another one follows."""
        status = data[0].code
        self._in_head = 100 <= status < 200 and status != 101
        super().feed_data(data, size)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """The connection failed: so did the body that is being read, or its reader would wait for its timeout."""
        super().set_exception(exc, *cause)
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(exc, *cause)

    def _is_answered(self) -> bool:
        return self._payload is not None and self._payload.is_eof()
