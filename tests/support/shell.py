"""Commands as people type them: processes of their own, in a folder without a configuration file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Shell:
    """Runs commands against one database, in a folder without a configuration file."""

    directory: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            [sys.executable, "-P", "-m", "router", *arguments],
            cwd=self.directory,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        with (self.directory / "commands.log").open("a", encoding="utf-8") as log:
            log.write(result.stderr)
        return result

    def data(self, *arguments: str) -> Any:
        """What a command that succeeds prints with --json."""
        result = self.run(*arguments, "--json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)


def shell_for(directory: Path, **settings: str) -> Shell:
    others = {name: value for name, value in os.environ.items() if not name.startswith("ROUTER_")}
    root = Path(__file__).parents[2]
    return Shell(directory=directory, environment={**others, "PYTHONPATH": str(root), **settings})
