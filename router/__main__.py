"""The `webhook-router` script and `python -m router`: hands the arguments to the command line. Touches nothing else."""

from router.cli.app import cli


def main() -> None:
    """Run one command; ends the process with the command's exit code."""
    cli.main(prog_name="webhook-router")


if __name__ == "__main__":
    main()
