"""What the broker's refusals are turned into."""

from zoneinfo import ZoneInfo

import pytest

from router.adapters.rabbitmq.config import DecodingRules, FieldPaths, SourceConfig
from router.adapters.rabbitmq.topology import explain_mismatch
from router.domain.event import EventType


def source() -> SourceConfig:
    paths = dict.fromkeys(FieldPaths.__dataclass_fields__, ())
    rules = DecodingRules(
        fields=FieldPaths(**paths),
        event_type=EventType.CALL,
        time_zone=ZoneInfo("UTC"),
        country="FR",
        max_message_bytes=1,
        max_inflated_bytes=1,
        max_depth=1,
    )
    return SourceConfig(
        name="call",
        exchange="call",
        exchange_type="topic",
        passive=False,
        binding_keys=("#",),
        binding_arguments={},
        queue="webhook-router.call",
        prefetch=100,
        decoding=rules,
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'webhook-router.call' in vhost '/': "
                "received none but current is the value '1000' of type 'signedint'"
            ),
            ["queue 'webhook-router.call'", "x-max-length is 1000 on the broker", "not set was wanted"],
        ),
        (
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'webhook-router.call' in vhost '/': "
                "received the value 'quorum' of type 'longstr' but current is none"
            ),
            ["x-queue-type is not set on the broker", "quorum was wanted"],
        ),
        (
            (
                "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'call' in vhost '/': "
                "received 'topic' but current is 'fanout'"
            ),
            ["exchange 'call'", "type is fanout on the broker", "topic was wanted"],
        ),
    ],
)
def test_a_mismatch_names_what_argument_has_and_was_wanted(text: str, parts: list[str]) -> None:
    sentence = explain_mismatch(text, source())

    for part in parts:
        assert part in sentence
    assert "passive" in sentence, "says what to do"


def test_a_text_in_no_known_form_is_passed_on_whole() -> None:
    assert "something new" in explain_mismatch("something new", source())
