"""An error as a block: what failed, what was seen, where it is configured, what to do."""

from __future__ import annotations

import pytest

from router.domain.errors import ConfigurationRefused, DependencyUnavailable, RouterError
from router.settings import Settings, load_settings, trouble_of

SETTINGS = load_settings(
    environ={"ROUTER_AMQP__URL": "amqp://router:hush@rabbit.example.com/", "ROUTER_DATA_DIR": "data"}, config=None
)


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (
            DependencyUnavailable("RabbitMQ cannot be reached at amqp.url", seen="Connection refused"),
            [
                "RabbitMQ cannot be reached at amqp.url\n",
                "seen        Connection refused",
                "amqp.url = amqp://router:***@rabbit.example.com/  (environment ROUTER_AMQP__URL)",
                "to do       Start it",
            ],
        ),
        (DependencyUnavailable("MongoDB cannot be reached"), ["mongo.url = mongodb://127.0.0.1:27017  (default)"]),
        (
            ConfigurationRefused("the API cannot listen: change api.host or api.port"),
            ["api.host = 127.0.0.1  (default)", "api.port = 8080  (default)", "webhook-router check-config"],
        ),
        (
            DependencyUnavailable("data_dir cannot hold the embedded store"),
            ["data_dir = data", "Give data_dir a folder"],
        ),
    ],
)
def test_a_block_says_all_four(error: RouterError, parts: list[str]) -> None:
    block = str(trouble_of(error, SETTINGS))

    for part in parts:
        assert part in block
    assert "hush" not in block


def test_only_settings_that_are_meant_are_shown() -> None:
    trouble = trouble_of(DependencyUnavailable("RabbitMQ is away, and sources[0] waits"), SETTINGS)

    assert [line.partition(" ")[0] for line in trouble.configured] == ["amqp.url"]


def test_a_key_inside_a_longer_one_is_not_meant() -> None:
    trouble = trouble_of(ConfigurationRefused("delivery.max_in_flight_per_webhook is odd"), SETTINGS)

    assert [line.partition(" ")[0] for line in trouble.configured] == ["delivery.max_in_flight_per_webhook"]


def test_without_settings_the_rest_is_said_all_the_same() -> None:
    assert str(trouble_of(RouterError("it is not there"), None)) == "it is not there"


def test_every_line_of_what_was_seen_is_indented() -> None:
    block = str(trouble_of(RouterError("it broke", seen="one\ntwo"), Settings()))

    assert block == "it broke\n  seen        one\n  seen        two"


def test_the_text_of_an_error_ends_with_what_was_seen() -> None:
    assert str(DependencyUnavailable("it is away", seen="no answer")) == "it is away (no answer)"
