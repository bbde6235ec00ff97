"""The classes of forbidden targets that a router tries on itself."""

from __future__ import annotations

import pytest

from router.domain.egress import EgressPolicy, parse_allow_rule
from router.domain.egress_classes import ADDRESSES, PUBLIC, URLS, Trial, try_addresses, try_ports, try_urls
from router.settings.ports import DEFAULT_DENY_PORTS
from tests.unit.test_egress import BOUND_TO_AN_INTERFACE, NOT_PUBLIC

DEFAULT = EgressPolicy(deny_ports=frozenset(DEFAULT_DENY_PORTS))


def trials(policy: EgressPolicy) -> list[Trial]:
    def is_refused(address: str, port: int) -> bool:
        return policy.refusal(address, port) is not None

    return [*try_addresses(is_refused), *try_urls(policy), try_ports(is_refused, DEFAULT_DENY_PORTS)]


def opened(policy: EgressPolicy) -> set[str]:
    return {trial.name for trial in trials(policy) if trial.open}


def test_the_default_policy_refuses_every_example_of_every_class() -> None:
    assert [trial for trial in trials(DEFAULT) if trial.open] == []
    assert sum(trial.refused for trial in trials(DEFAULT)) > 200


def test_every_address_that_the_policy_is_tested_with_is_of_a_class() -> None:
    examples = {each for addresses in ADDRESSES.values() for each in addresses}
    assert {*NOT_PUBLIC, *BOUND_TO_AN_INTERFACE} - examples <= {
        "::ffff:8.8.8.8",
        "fe80::1%25lo",
        "2606:4700:4700::1111%eth0",
    }


def test_what_must_be_permitted_is() -> None:
    assert [DEFAULT.refusal(address, 443) for address in PUBLIC] == [None] * len(PUBLIC)


@pytest.mark.parametrize(
    ("policy", "classes"),
    [
        (EgressPolicy(require_https=False, deny_ports=DEFAULT.deny_ports), {"plain http"}),
        (EgressPolicy(), {"ports"}),
        (
            EgressPolicy(allow=(parse_allow_rule("10.0.0.0/8"),), deny_ports=DEFAULT.deny_ports),
            {"private networks", "local names"},
        ),
        (
            EgressPolicy(allow=(parse_allow_rule("127.0.0.1"),), deny_ports=DEFAULT.deny_ports),
            {"this host", "local names"},
        ),
    ],
)
def test_a_setting_opens_its_class_and_no_other(policy: EgressPolicy, classes: set[str]) -> None:
    assert opened(policy) == classes


def test_no_setting_opens_a_spelling() -> None:
    everything = EgressPolicy(
        allow=(parse_allow_rule("0.0.0.0/0"), parse_allow_rule("::/0")), require_https=False, deny_ports=frozenset()
    )
    spellings = {"spellings that are no address", "bound to an interface", *URLS} - {"local names", "plain http"}
    assert opened(everything) & spellings == set()
