"""When a consumer has so much in hand that more may wait at the broker."""

from __future__ import annotations

from router.adapters.rabbitmq.window import Window


def window(unsettled: int) -> Window:
    made = Window(prefetch=100)
    for _ in range(unsettled):
        made.arrived()
    return made


def test_full_is_who_has_three_quarters_of_the_prefetch_in_hand() -> None:
    assert not window(74).is_full
    assert window(75).is_full


def test_full_it_stays_until_half_of_it_is_settled() -> None:
    filled = window(100)

    seen = []
    for count in (49, 1, -1):
        filled.settled(count)
        seen.append((filled.unsettled, filled.is_full))

    assert seen == [(51, True), (50, False), (51, False)], "between the two it is what it was"


def test_one_message_fills_a_window_of_one() -> None:
    made = Window(prefetch=1)
    seen = []
    for step in (made.arrived, lambda: made.settled(1)):
        step()
        seen.append((made.is_full, made.has_room))

    assert seen == [(True, False), (False, True)]


def test_with_the_connection_all_of_it_is_gone() -> None:
    filled = window(100)
    filled.clear()

    assert (filled.unsettled, filled.is_full, filled.has_room) == (0, False, True)


def test_quiet_is_who_has_less_than_half_of_the_prefetch_in_hand() -> None:
    assert window(49).is_quiet
    assert not window(50).is_quiet
    assert Window(prefetch=1).is_quiet, "with nothing in hand everybody is"
