"""PNG files made small enough for a repository: the pixels of a screenshot with 256 colours instead of a few thousand.
Pure; the same bytes for the same pixels."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE_SIZE = 256
_RGB = 3

_Colour = bytes


def with_palette(png: bytes) -> bytes:
    """The picture with at most 256 colours. `png` is of 8 bits a channel, RGB, as Chromium makes screenshots."""
    header, lines = _pixels(png)
    pixels = [[line[at : at + _RGB] for at in range(0, len(line), _RGB)] for line in lines]
    often = Counter(colour for line in pixels for colour in line)
    palette = _palette(often)
    entry = {colour: min(range(len(palette)), key=lambda at: _distance(palette[at], colour)) for colour in often}
    body = b"".join(b"\0" + bytes(entry[colour] for colour in line) for line in pixels)
    width, height = struct.unpack(">II", header[:8])
    return _SIGNATURE + b"".join(
        _chunk(kind, data)
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            (b"PLTE", b"".join(palette)),
            (b"IDAT", zlib.compress(body, 9)),
            (b"IEND", b""),
        )
    )


def _palette(often: Counter[_Colour]) -> Sequence[_Colour]:
    """The most frequent colours that lie apart, as far as is needed for them to be few enough."""
    colours = sorted(often, key=lambda colour: (-often[colour], colour))
    for apart in range(0, 512, 4):
        chosen: list[_Colour] = []
        for colour in colours:
            if all(_distance(colour, other) > apart * apart for other in chosen):
                chosen.append(colour)
        if len(chosen) <= _PALETTE_SIZE:
            return chosen
    raise AssertionError("colours cannot lie further apart than that")


def _distance(one: _Colour, other: _Colour) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


# --- the format ------------------------------------------------------------------------------------


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGNATURE)
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        at += 12 + size


def _pixels(png: bytes) -> tuple[bytes, list[bytes]]:
    """The header and the unfiltered lines (PNG specification, section 9)."""
    chunks = list(_chunks(png))
    header = chunks[0][1]
    width, height, depth, colour_type = struct.unpack(">IIBB", header[:10])
    assert (depth, colour_type) == (8, 2), "not a screenshot as Chromium makes them"
    raw = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    size = width * _RGB
    lines: list[bytes] = []
    above = bytes(size)
    for y in range(height):
        start = y * (size + 1)
        above = bytes(_unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + size]), above))
        lines.append(above)
    return header, lines


def _unfiltered(kind: int, line: bytearray, above: bytes) -> bytearray:
    for at in range(len(line)):
        left, corner = (line[at - _RGB], above[at - _RGB]) if at >= _RGB else (0, 0)
        line[at] = (line[at] + _predicted(kind, left, above[at], corner)) & 0xFF
    return line


def _predicted(kind: int, left: int, up: int, corner: int) -> int:
    match kind:
        case 0:
            return 0
        case 1:
            return left
        case 2:
            return up
        case 3:
            return (left + up) // 2
        case _:
            guess = left + up - corner
            return min((left, up, corner), key=lambda value: abs(guess - value))
