"""Looks for messages that the decoder does not stand, guided by which code they reach; `make fuzz MINUTES=10`.

    python -m tests.fuzz --minutes 10 --corpus DIRECTORY

Begins with the kept cases and with what earlier runs left in DIRECTORY. Exit code 0: none was found. Else the case is
in the directory as `crash-…`, to be added to `tests/fuzz/nasty.py` when the decoder stands it.
"""

from __future__ import annotations

import argparse
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["router.adapters.rabbitmq", "router.domain", "pamqp"]):
    from tests.fuzz import decoder, nasty

LONGEST_CASE_BYTES: Final = 16 * 1024
SLOWEST_CASE_SECONDS: Final = 5
MAX_MEMORY_MB: Final = 2_048


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the decoder of messages.")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long; default 5")
    parser.add_argument(
        "--corpus", type=Path, required=True, help="what was found to reach new code; kept between runs"
    )
    options = parser.parse_args()

    seeds = options.corpus / "kept"
    seeds.mkdir(parents=True, exist_ok=True)
    for case in nasty.nasty():
        if len(case) <= LONGEST_CASE_BYTES:
            (seeds / sha256(case).hexdigest()[:16]).write_bytes(case)
    words = options.corpus / "words"
    words.write_text("".join(f"{_quoted(word)}\n" for word in nasty.WORDS), encoding="ascii")
    found = options.corpus / "found"
    found.mkdir(exist_ok=True)
    arguments = [
        *(sys.argv[0], str(found), str(seeds)),
        f"-max_total_time={round(options.minutes * 60)}",
        f"-max_len={LONGEST_CASE_BYTES}",
        f"-timeout={SLOWEST_CASE_SECONDS}",
        f"-rss_limit_mb={MAX_MEMORY_MB}",
        f"-dict={words}",
        f"-artifact_prefix={options.corpus}/",
        "-print_final_stats=1",
    ]
    atheris.Setup(arguments, decoder.check)
    atheris.Fuzz()


def _quoted(word: bytes) -> str:
    """A word as libFuzzer reads it from a file."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"'


if __name__ == "__main__":
    main()
