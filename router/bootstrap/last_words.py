"""What a router that cannot start says of it: fields of a line for machines, or a block below the line for people.
Writes to stderr; the line itself is its caller's.
"""

from __future__ import annotations

import sys
from contextlib import suppress

from router.bootstrap import convert
from router.domain.errors import RouterError
from router.settings import Settings, trouble_of


def fields_of(error: RouterError, settings: Settings) -> dict[str, object]:
    """The error, where it is configured, and what to do; in a log for people that is the block's to say."""
    if convert.log_format(settings) == "console":
        return {}
    trouble = trouble_of(error, settings)
    return {"error": str(error), "configured": list(trouble.configured), "remedy": trouble.remedy}


def show_block(error: RouterError, settings: Settings) -> None:
    """The same for people; nothing in a log for machines."""
    if convert.log_format(settings) == "console":
        with suppress(OSError, ValueError):  # nobody reads
            sys.stderr.write(f"Error: {trouble_of(error, settings)}\n")
            sys.stderr.flush()
