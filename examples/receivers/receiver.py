# ruff: noqa: INP001 - a script, not a package
"""Receives webhooks: checks the signature, answers at once, handles each event once.

    WEBHOOK_SECRET=whsec_... python3 receiver.py        listens on 127.0.0.1:9000; PORT and HOST change that

Python 3.9 or newer, standard library only. During a rotation WEBHOOK_SECRET may hold several secrets with blanks
between them.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
import os
import queue
import sys
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_SECONDS = 5 * 60
MAX_BODY_BYTES = 4 * 1024 * 1024
REMEMBERED_IDS = 10_000


class VerificationError(Exception):
    """The request does not come from the router, or comes too late."""


def verify(headers: Mapping[str, str], body: bytes, keys: Sequence[bytes], now: float) -> None:
    """Raises VerificationError unless one of the signatures in the header was made with one of `keys`.

    `body` must be the bytes as they came: JSON that was parsed and written again has another signature.
    """
    webhook_id = headers.get("webhook-id") or ""
    timestamp = headers.get("webhook-timestamp") or ""
    if not webhook_id or not timestamp.isascii() or not timestamp.isdigit():
        raise VerificationError("webhook-id or webhook-timestamp is missing")
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        raise VerificationError("the timestamp is more than five minutes off")

    signed = webhook_id.encode() + b"." + timestamp.encode() + b"." + body
    wanted = [b64encode(hmac.new(key, signed, hashlib.sha256).digest()) for key in keys]
    # "v1,<base64> v1,<base64>": two or more during a rotation; versions that we do not know are passed over.
    for signature in (headers.get("webhook-signature") or "").split():
        version, _, text = signature.partition(",")
        if version == "v1" and any(hmac.compare_digest(text.encode(), each) for each in wanted):
            return
    raise VerificationError("no signature matches")


class Inbox:
    """Takes each event once, and hands it to a thread that works it off.

    In memory, so that the example needs nothing. A real inbox is a table with the webhook-id as its primary key: insert
    before you answer, and what was inserted survives a crash.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, None] = {}
        self._queue: queue.Queue[tuple[str, bytes]] = queue.Queue()
        threading.Thread(target=self._work, daemon=True).start()

    def put(self, webhook_id: str, body: bytes) -> bool:
        """False where the event was there before."""
        with self._lock:
            if webhook_id in self._seen:
                return False
            self._seen[webhook_id] = None
            if len(self._seen) > REMEMBERED_IDS:
                del self._seen[next(iter(self._seen))]
        self._queue.put((webhook_id, body))
        return True

    def _work(self) -> None:
        while True:
            webhook_id, body = self._queue.get()
            event = json.loads(body)
            say(f"handled {webhook_id} {event.get('name')} call={event.get('call_id')}")


class Handler(BaseHTTPRequestHandler):
    """POST /anything."""

    protocol_version = "HTTP/1.1"  # keeps connections open; each answer then needs its length
    timeout = 60

    def do_POST(self) -> None:
        length = self.headers.get("content-length") or ""
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self._answer(413)
            return
        body = self.rfile.read(int(length))
        try:
            verify(self.headers, body, KEYS, time.time())  # type: ignore[arg-type]  # any case of a name will do
        except VerificationError as error:
            say(f"refused: {error}")
            self._answer(401)
            return
        webhook_id = self.headers["webhook-id"]
        if not INBOX.put(webhook_id, body):
            say(f"seen before {webhook_id} attempt={self.headers.get('x-webhook-attempt')}")
        # 204 for an event that was seen before too: anything else would have it sent again.
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: `say` tells what matters."""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def read_keys(text: str) -> list[bytes]:
    """The signing keys in secrets like whsec_c2VjcmV0...; none where one of them is wrong."""
    try:
        keys = [b64decode(secret.removeprefix("whsec_"), validate=True) for secret in text.split()]
    except binascii.Error:
        return []
    return keys if all(keys) else []  # an empty key would accept what anybody can sign


KEYS = read_keys(os.environ.get("WEBHOOK_SECRET", ""))
INBOX = Inbox()

if __name__ == "__main__":
    if not KEYS:
        sys.exit("set WEBHOOK_SECRET to the whsec_... that was shown when the webhook was made")
    server = ThreadingHTTPServer((os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "9000"))), Handler)
    host, port = server.socket.getsockname()
    say(f"listening on http://{host}:{port}")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
