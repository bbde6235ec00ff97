"""The style sheet, the script and the icon: package data, served under names that hold their hash. Reads files once."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from aiohttp import web

STATIC: Final = Path(__file__).parent / "static"
PREFIX: Final = "/assets/"
FOR_EVER: Final = "public, max-age=31536000, immutable"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HASH_LENGTH: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asset:
    name: str
    content_type: str
    body: bytes

    @property
    def url(self) -> str:
        stem, dot, extension = self.name.rpartition(".")
        return f"{PREFIX}{stem}.{sha256(self.body).hexdigest()[:_HASH_LENGTH]}{dot}{extension}"


class Assets:
    """What pages refer to, by file name."""

    def __init__(self) -> None:
        files = [path for path in sorted(STATIC.iterdir()) if path.suffix in _TYPES]
        found = [_Asset(name=path.name, content_type=_TYPES[path.suffix], body=path.read_bytes()) for path in files]
        self._by_name = {asset.name: asset for asset in found}

    def url(self, name: str) -> str:
        """The path under which `name` never changes."""
        return self._by_name[name].url

    def add_to(self, app: web.Application) -> None:
        app.router.add_get(PREFIX + "{stem}.{hash:[0-9a-f]+}.{extension}", self._serve)

    async def _serve(self, request: web.Request) -> web.Response:
        asset = self._by_name.get("{stem}.{extension}".format_map(request.match_info))
        if asset is None:
            raise web.HTTPNotFound
        # While two versions run side by side, one may be asked for what the other named: better this than no style.
        caching = FOR_EVER if asset.url == request.path else "no-store"
        headers = {"Cache-Control": caching}
        return web.Response(body=asset.body, content_type=asset.content_type, charset="utf-8", headers=headers)
