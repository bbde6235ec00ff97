"""What the router is compared with too: a forwarder with a core of Rust, from a queue to one URL. No routing,
signature, log or stored retry. Runs in an environment of its own (`requirements/bridge.txt`); touches sockets."""

from __future__ import annotations

import sys

from mq_bridge import Route


def main(amqp_url: str, queue: str, target: str) -> None:
    route = Route.from_config(
        {
            # A path of / would be a virtual host without a name, for this client.
            "input": {"amqp": {"url": amqp_url.rstrip("/"), "queue": queue, "prefetch_count": 100}},
            "output": {"http": {"url": target, "custom_headers": {"content-type": "application/json"}}},
        }
    )
    route.start()
    print("ready", flush=True)
    route.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
