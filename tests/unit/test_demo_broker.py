"""Which RabbitMQ the demo takes, what it says about it, and that it gives back what it started."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from router.demo.broker import Broker, Busy, NotHere, Way, address, open_broker
from router.demo.show import unused_port
from router.domain.errors import DependencyUnavailable

STOPPED: list[str] = []


@contextmanager
def quiet(_: str) -> Iterator[None]:
    yield


def absent(reason: str) -> Way:
    return lambda _, __: NotHere(reason)


def present(name: str, *, why: str = "") -> Way:
    def way(_: Path, __: Busy) -> Broker:
        return Broker(url=f"amqp://{name}/", origin=name, why=why, stop=lambda: STOPPED.append(name))

    return way


def test_the_first_that_is_there_is_taken_and_the_reasons_against_the_others_are_told(tmp_path: Path) -> None:
    ways = [absent("nobody answers"), absent("no Docker"), present("node"), present("other")]
    with open_broker(None, tmp_path, quiet, ways) as broker:
        assert (broker.origin, broker.why) == ("node", "nobody answers; no Docker")


def test_what_was_started_is_stopped_however_the_demo_ends(tmp_path: Path) -> None:
    STOPPED.clear()
    with pytest.raises(KeyboardInterrupt), open_broker(None, tmp_path, quiet, [present("node")]):
        raise KeyboardInterrupt
    assert STOPPED == ["node"]


def test_without_any_broker_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    ways = [absent("no RabbitMQ at 127.0.0.1:5672"), absent("docker is not installed")]
    with pytest.raises(DependencyUnavailable) as refusal, open_broker(None, tmp_path, quiet, ways):
        pass
    assert str(refusal.value) == (
        "the demo needs a RabbitMQ and found none (no RabbitMQ at 127.0.0.1:5672; docker is not installed): "
        "run `apt-get install rabbitmq-server`, start Docker, or set ROUTER_AMQP__URL to the URL of a broker"
    )


def test_a_given_broker_that_is_not_there_is_not_replaced_by_another(tmp_path: Path) -> None:
    with unused_port() as holder:
        port = holder.getsockname()[1]
        url = f"amqp://someone:hush@127.0.0.1:{port}/"
        with (
            pytest.raises(DependencyUnavailable, match=f"no RabbitMQ answers at 127.0.0.1:{port}, which") as refusal,
            open_broker(url, tmp_path, quiet, [present("node")]),
        ):
            pass
    assert "hush" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://guest:guest@127.0.0.1:5672/", "127.0.0.1:5672"),
        ("amqp://user:hush@mq.example.com/vhost", "mq.example.com:5672"),
        ("amqps://mq.example.com", "mq.example.com:5671"),
        ("amqp://guest:guest@[::1]:5673/", "[::1]:5673"),
    ],
)
def test_of_a_url_only_host_and_port_are_shown(url: str, shown: str) -> None:
    assert address(url) == shown
