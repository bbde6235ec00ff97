"""Doctor: the way out tried on itself. Every class of address and URL that must be refused is, or is told apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Final

from router.adapters.http import selftest
from router.bootstrap import convert
from router.domain.diagnosis import Finding, Ward
from router.domain.egress import EgressPolicy
from router.domain.egress_classes import PUBLIC, Trial, try_addresses, try_ports, try_urls
from router.settings import Settings
from router.settings.ports import DEFAULT_DENY_PORTS

GROUP: Final = "egress"
_WARD: Final = Ward(GROUP)
SHOWN: Final = 4


async def look(settings: Settings) -> list[Finding]:
    policy = convert.egress_policy(settings)

    def refused(address: str, port: int) -> bool:
        return selftest.refuses(policy, address, port)

    trials = [*try_addresses(refused), *try_urls(policy), try_ports(refused, DEFAULT_DENY_PORTS)]
    closed = [address for address in PUBLIC if refused(address, 443)]
    findings = [*judge(trials, policy), judge_public(closed)]
    if settings.egress.proxy_url is not None:
        seen = "the proxy dials, so its own rules count besides"
        return [*findings, _WARD.ok("own socket", f"not tried: {seen}")]
    return [*findings, judge_own_socket(await selftest.reaches_this_host(policy))]


def judge(trials: Sequence[Trial], policy: EgressPolicy) -> Iterator[Finding]:
    refused, open_ = sum(trial.refused for trial in trials), sum(len(trial.open) for trial in trials)
    whole = sum(not trial.open for trial in trials)
    yield _WARD.ok(
        "refused", f"{refused} of {refused + open_} forbidden targets; {whole} of {len(trials)} classes whole"
    )
    yield from (_opened(trial, policy) for trial in trials if trial.open)


def _opened(trial: Trial, policy: EgressPolicy) -> Finding:
    """Something forbidden is permitted: by a setting, which somebody wanted, or by nothing, which is a bug."""
    shown = ", ".join(trial.open[:SHOWN]) + (" …" if len(trial.open) > SHOWN else "")
    remedy = _remedy(trial, policy)
    if remedy is None:
        return _WARD.fail(trial.name, f"permitted, and no setting says so: {shown}", "Stop the router and report this.")
    return _WARD.warn(trial.name, f"permitted by the settings: {shown}", remedy)


def _remedy(trial: Trial, policy: EgressPolicy) -> str | None:
    """What closes it again; None where no setting opens such a class, as that of spellings and logins."""
    narrower = "Take it out of egress.allow, unless customers are there."
    match trial.name:
        case "plain http":
            return None if policy.require_https else "Set egress.require_https = true once every customer has https."
        case "ports":
            is_listed = all(int(port) in policy.deny_ports for port in trial.open)
            return None if is_listed and not policy.allow else "Put them back into egress.deny_ports, or leave it out."
        case "local names":
            return narrower if policy.allow else None
        case _:
            return narrower if all(_is_allowed(address, policy) for address in trial.open) else None


def _is_allowed(text: str, policy: EgressPolicy) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return any(address in rule.network for rule in policy.allow)


def judge_public(closed: Sequence[str]) -> Finding:
    if closed:
        return _WARD.fail(
            "permitted",
            f"public addresses on port 443 are refused: {', '.join(closed)}",
            "Take 443 out of egress.deny_ports.",
        )
    return _WARD.ok("permitted", "public addresses, on port 443")


def judge_own_socket(reached: int | None) -> Finding:
    if reached is None:
        return _WARD.warn("own socket", "not tried: egress.allow permits this host", "Take it out of egress.allow.")
    if reached:
        return _WARD.fail(
            "own socket", f"this host was connected to {reached} times", "Stop the router and report this."
        )
    return _WARD.ok("own socket", "a server of our own, by address and by name, was not connected to")
