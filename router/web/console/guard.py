"""What keeps other sites away: the headers of every page, where a form may come from, where a link may lead. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    # Which language a page has depends on them.
    "Vary": "Accept-Language, Cookie",
}
"""Of every page; `nosniff` comes with every answer of the server."""

MAX_NEXT_LENGTH: Final = 2_000


def is_from_our_pages(headers: Mapping[str, str], public_url: str | None) -> bool:
    """Whether a request that changes something was sent by a page of ours, or typed by its user.

    Browsers say where a request comes from: in Sec-Fetch-Site, those before 2023 in Origin. `public_url` is the origin
    that we are reached under; without one it is the header Host, which a page of another site cannot choose either.
    """
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = headers.get("Origin", "")
    if public_url is not None:
        return origin == public_url
    scheme, _, host = origin.partition("://")
    return scheme in {"http", "https"} and bool(host) and host == headers.get("Host")


def safe_next(target: str | None) -> str:
    """Where to go after signing in: a path of our own, or the beginning."""
    if not target or len(target) > MAX_NEXT_LENGTH or not target.isascii() or not target.isprintable():
        return "/"
    # Browsers take a backslash for a slash, and what begins with two of them for a host.
    if not target.startswith("/") or target.startswith("//") or "\\" in target or " " in target:
        return "/"
    parts = urlsplit(target)
    return "/" if parts.scheme or parts.netloc else target
