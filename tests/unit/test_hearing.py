"""When a consumer whose connection answers is deaf all the same."""

from __future__ import annotations

import pytest

from router.adapters.rabbitmq.hearing import MAX_PATIENCE, Hearing, Listener, Pulse

WELL, SILENT, DEAF = Hearing.WELL, Hearing.SILENT, Hearing.DEAF


def pulse(ready: int = 0, *, arrived: int = 0, has_room: bool = True, consumers: int = 1) -> Pulse:
    return Pulse(ready=ready, consumers=consumers, arrived=arrived, has_room=has_room)


@pytest.mark.parametrize(
    ("pulses", "expected"),
    [
        ([pulse(), pulse(), pulse()], [WELL, WELL, WELL]),
        # Ready for a moment, at one pulse or at several with arrivals between them.
        ([pulse(), pulse(5), pulse()], [WELL, WELL, WELL]),
        ([pulse(5), pulse(5, arrived=1), pulse(5, arrived=2)], [WELL, WELL, WELL]),
        ([pulse(1), pulse(0), pulse(1)], [WELL, WELL, WELL]),
        # Ready at two pulses, and nothing came between them.
        ([pulse(1), pulse(1)], [WELL, DEAF]),
        ([pulse(5), pulse(5, arrived=3), pulse(2, arrived=3)], [WELL, WELL, DEAF]),
        # All that we may hold is unsettled: the store is slow, and the broker waits for us.
        ([pulse(9, has_room=False)] * 4, [WELL] * 4),
        ([pulse(9, has_room=False), pulse(9), pulse(9, arrived=1)], [WELL, WELL, WELL]),
        ([pulse(9), pulse(9, has_room=False), pulse(9)], [WELL, WELL, WELL]),
        # Nobody consumes from the queue, not even we.
        ([pulse(consumers=0), pulse(consumers=1)], [WELL, WELL]),
        ([pulse(consumers=0), pulse(consumers=0)], [WELL, DEAF]),
    ],
)
def test_deaf_is_who_has_room_and_gets_nothing_of_what_is_ready(pulses: list[Pulse], expected: list[Hearing]) -> None:
    listener = Listener()

    assert [listener.judge(each) for each in pulses] == expected


def test_what_was_seen_of_the_last_consumer_does_not_count_for_the_next() -> None:
    listener = Listener()
    listener.judge(pulse(1))
    listener.begin(arrived=0)

    assert listener.judge(pulse(1)) is WELL


def test_who_is_deaf_after_a_new_beginning_gets_twice_the_time_and_is_not_well_meanwhile() -> None:
    listener = Listener()
    waits = []
    for _ in range(9):
        listener.begin(arrived=0)
        seen = [listener.judge(pulse(1))]
        while seen[-1] is not DEAF:
            seen.append(listener.judge(pulse(1)))
        assert set(seen[1:-1]) <= {SILENT}
        waits.append(len(seen) - 1)

    assert waits == [1, 2, 4, 8, 16, 32, MAX_PATIENCE, MAX_PATIENCE, MAX_PATIENCE]


def test_an_arrival_makes_the_next_silence_count_at_once() -> None:
    listener = Listener()
    listener.judge(pulse(1))
    assert listener.judge(pulse(1)) is DEAF
    listener.begin(arrived=0)
    listener.judge(pulse(1, arrived=7))

    assert listener.judge(pulse(1, arrived=7)) is DEAF
