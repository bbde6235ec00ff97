"""The `webhook-router` script and `python -m router`: hands the arguments to the command line. Touches the standard
streams, where they are closed, and nothing else.
"""

import os
import sys

from router.cli.app import cli


def main() -> None:
    """Run one command; ends the process with the command's exit code."""
    _open_standard_streams()
    cli.main(prog_name="webhook-router")


def _open_standard_streams() -> None:
    """Lead streams that are closed nowhere: the first sockets would get their numbers, and what a library prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
            os.set_inheritable(number, True)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


if __name__ == "__main__":
    main()
