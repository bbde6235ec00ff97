"""The policy file of a configuration, for `rabbitmqctl import_definitions`. Builds a value; touches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from router.domain.topology import POLICY, QUORUM, RETURNED, policy_definition, policy_pattern

BrokerLine = Literal["3.10", "4"]
"""A line of RabbitMQ's releases: 3.10 and everything since, or 4.x."""

_APPLY_TO: Final = {
    "3.10": "queues",  # the only word for queues that it knows
    "4": "quorum_queues",  # since 3.12: a classic queue of the same name has no use for a delivery limit
}


def policy_file(queues: Sequence[str], vhost: str, broker: BrokerLine) -> dict[str, Any]:
    """The policy of `queues`, and the exchange and the queue that it sets messages aside in."""
    return {
        "exchanges": [
            {
                "name": RETURNED,
                "vhost": vhost,
                "type": "fanout",
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
        ],
        "queues": [
            {"name": RETURNED, "vhost": vhost, "durable": True, "auto_delete": False, "arguments": dict(QUORUM)}
        ],
        "bindings": [
            {
                "source": RETURNED,
                "vhost": vhost,
                "destination": RETURNED,
                "destination_type": "queue",
                "routing_key": "",
                "arguments": {},
            }
        ],
        "policies": [
            {
                "vhost": vhost,
                "name": POLICY,
                "pattern": policy_pattern(queues),
                "apply-to": _APPLY_TO[broker],
                "priority": 10,
                "definition": policy_definition(),
            }
        ],
    }
