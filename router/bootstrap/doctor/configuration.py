"""Doctor: the settings themselves, and the file that they come from. Reads that file's mode; changes nothing."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from router.domain.diagnosis import Finding, Ward
from router.settings import Problem, Settings, describe

GROUP: Final = "configuration"
_WARD: Final = Ward(GROUP)
_SECRETS: Final = ("amqp.url", "mongo.url", "api.admin_token", "egress.proxy_url", "log.hash_key")
_LINE: Final = " line "


async def look(settings: Settings) -> list[Finding]:
    described = {each.key: each for each in describe(settings)}
    origins = {each.origin.partition(_LINE)[0] for each in described.values()} - {"default"}
    files = sorted(origin for origin in origins if not origin.startswith(("flag ", "environment ")))
    changed = sum(each.origin != "default" for each in described.values())
    findings = [_WARD.ok("settings", f"sound; {changed} set, in {', '.join(files) or 'no file'}")]
    in_file = [key for key in _SECRETS if key in described and described[key].origin.partition(_LINE)[0] in files]
    findings += (_file(Path(name), in_file) for name in files)
    if settings.api.admin_token is not None:
        findings.append(
            _WARD.warn(
                "admin token",
                f"api.admin_token is set ({described['api.admin_token'].origin}): it may do everything and never ends",
                "`webhook-router tokens create` makes tokens for each use; then remove api.admin_token.",
            )
        )
    return findings


def _file(path: Path, secrets: Sequence[str]) -> Finding:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return _WARD.warn("file", f"{path}: {error.strerror}", "Keep the file where it is read at each start.")
    if secrets and mode & 0o077:
        return _WARD.warn(
            "file",
            f"{path} holds {', '.join(secrets)} and has mode {mode:04o}: others of this host can read it",
            f"chmod 0600 {path}, or move the secrets to the environment or to a credential of systemd.",
        )
    if mode & 0o022:
        return _WARD.warn("file", f"{path} can be written by others (mode {mode:04o})", f"chmod go-w {path}")
    return _WARD.ok("file", f"{path}, mode {mode:04o}")


def wrong(problems: Sequence[Problem]) -> list[Finding]:
    """A configuration that cannot be used: each problem, and that the rest was not looked at."""
    return [*_problems(problems), *_WARD.unseen(["everything else"], "the settings are wrong", "Correct them first.")]


def _problems(problems: Sequence[Problem]) -> Iterator[Finding]:
    for problem in problems:
        now = f"is now {problem.value}" if problem.value else "is not set"
        yield _WARD.fail(
            problem.key, f"{problem.message}; {now} ({problem.origin})", problem.hint or "See config/router.toml."
        )
