"""What the demo shows: a screen that fits its terminal, whatever its size, and lines where there is none."""

import io
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console

from router.demo.board import Board, Mark
from router.demo.crm import Mood, Visit
from router.demo.customers import Customer, Hook
from router.demo.ledger import Arrival, Ledger, Receipt
from router.demo.screen import LineScreen, progress_line
from router.demo.telephony import Publication
from router.demo.terminal import TerminalScreen
from router.ports import MessageProperties

CRM = Hook(id="wh_crm", name="CRM screen pop", event_type="call")
DEAD = Hook(id="wh_dead", name="Retired server", event_type="cdr", dead=True)
CUSTOMER = Customer(account_id="41000", name="Hôtel du Lac", enabled=True, numbers=(), users=(), hooks=(CRM, DEAD))
PUBLICATION = Publication(
    event_id="evt_1",
    event_name="call.received",
    customer=CUSTOMER,
    hooks=(CRM,),
    exchange="call",
    routing_key="call.received.41000",
    body=b"{}",
    properties=MessageProperties(),
)
AWAITED = Receipt(arrival=Arrival.AWAITED, nth=2, delay_seconds=0.0123, publication=PUBLICATION)


def board(*visits: Visit, seconds: float | None = 20) -> Board:
    board = Board(ledger=Ledger(), customers=[CUSTOMER], total_seconds=seconds)
    for visit in visits:
        board.show_visit(visit)
    return board


def visit(receipt: Receipt = AWAITED, **mood: Any) -> Visit:
    return Visit(hook_id="wh_crm", receipt=receipt, mood=Mood(**({"status": 200, "delay_seconds": 0.004} | mood)))


def delivery(status: str, tries: int) -> Mapping[str, Any]:
    return {
        "id": "dlv_1",
        "status": status,
        "reason": "exhausted" if status == "failed" else None,
        "event_name": "cdr.created",
        "event_type": "cdr",
        "attempt_count": tries,
        "attempts": [{"error": "connection_refused"}] * tries,
    }


# --- rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "mark", "status"),
    [
        (visit(), Mark.GOOD, "delivered"),
        (visit(delay_seconds=0.94), Mark.GOOD, "delivered in 0.9 s"),
        (visit(status=500), Mark.AGAIN, "500, again later"),
        (visit(status=503, retry_after_seconds=1), Mark.AGAIN, "503, retry in 1 s"),
        (visit(Receipt(arrival=Arrival.DUPLICATE)), Mark.ODD, "duplicate"),
        (visit(Receipt(arrival=Arrival.UNEXPECTED)), Mark.BAD, "not awaited"),
        (visit(Receipt(arrival=Arrival.FORGED), status=401), Mark.BAD, "bad signature"),
    ],
)
def test_a_row_says_how_a_try_went(shown: Visit, mark: Mark, status: str) -> None:
    row = board(shown).rows[0]
    assert (row.mark, row.status, row.webhook, row.account_name) == (mark, status, "CRM screen pop", "Hôtel du Lac")


def test_a_dead_port_has_one_row_for_its_first_refusal_and_one_for_the_end() -> None:
    shown = board()
    for status, tries in (("pending", 0), ("pending", 1), ("pending", 2), ("failed", 4), ("failed", 4)):
        shown.show_unreachable("wh_dead", [delivery(status, tries)])
    assert [(row.status, row.nth) for row in shown.rows] == [("failed: exhausted", 4), ("connection refused", 1)]


def test_a_dead_letter_has_one_row() -> None:
    shown = board()
    for _ in range(2):
        shown.show_dead_letters([{"id": "dl_1", "reason": "not_json"}])
    assert [(row.event, row.status) for row in shown.rows] == [("not json", "dead letter")]


# --- the terminal ----------------------------------------------------------------------------------


def drawn(shown: Board, *, width: int, height: int, encoding: str = "utf-8", steps: int = 5) -> list[str]:
    """The live part of the screen, line by line, as it is drawn below `steps` lines of text."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    console = Console(file=stream, force_terminal=True, width=width, height=height, markup=False, color_system=None)
    screen = TerminalScreen(console)
    for _ in range(steps):
        screen.step("store", "is there")
    frame = screen._frame(shown)
    return ["".join(segment.text for segment in line).rstrip() for line in console.render_lines(frame)]


@pytest.mark.parametrize("width", [24, 40, 60, 68, 80, 95, 96, 100, 140, 220])
@pytest.mark.parametrize("height", [12, 20, 30, 60])
def test_the_screen_fits_its_terminal(width: int, height: int) -> None:
    lines = drawn(board(*[visit()] * 100), width=width, height=height)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert any("delivered" in line for line in lines)


def test_what_was_said_before_stays_in_sight_where_there_is_room() -> None:
    full = board(*[visit()] * 100)
    assert len(drawn(full, width=100, height=30, steps=0)) == 29
    assert len(drawn(full, width=100, height=30, steps=10)) == 19


@pytest.mark.parametrize(
    ("width", "shown", "hidden"),
    [
        (100, {"TIME", "ACCOUNT", "WEBHOOK", "EVENT", "STATUS", "TRY", "DELAY"}, set()),
        (80, {"TIME", "WEBHOOK", "EVENT", "STATUS", "TRY", "DELAY"}, {"ACCOUNT"}),
        (60, {"EVENT", "STATUS", "DELAY"}, {"TIME", "ACCOUNT", "WEBHOOK", "TRY"}),
    ],
)
def test_a_narrow_terminal_shows_what_matters_most(width: int, shown: set[str], hidden: set[str]) -> None:
    heads = next(line for line in drawn(board(visit()), width=width, height=30) if "STATUS" in line).split()
    assert shown <= set(heads)
    assert hidden.isdisjoint(heads)


def test_a_row_on_a_usual_terminal() -> None:
    lines = drawn(board(visit()), width=100, height=30)
    row = next(line for line in lines if "Hôtel" in line)
    assert row[9:].split() == [
        *("41000", "Hôtel", "du", "Lac", "CRM", "screen", "pop", "call.received", "✓", "delivered", "2", "12", "ms")
    ]


def test_a_terminal_without_unicode_gets_plain_signs() -> None:
    lines = drawn(board(visit()), width=100, height=30, encoding="ascii")
    assert any("+ delivered" in line for line in lines)


def test_the_clock_stops_with_publishing_and_the_phase_is_told() -> None:
    shown = board(visit())
    shown.stopped_at = shown.started_at + 20
    shown.phase = "waiting for 2 to fail"
    text = "\n".join(drawn(shown, width=100, height=30))
    assert "0:20 / 0:20" in text
    assert "waiting for 2 to fail" in text


# --- lines -----------------------------------------------------------------------------------------


def test_a_line_holds_every_count_under_its_name() -> None:
    shown = board(seconds=None)
    shown.ledger.published, shown.ledger.delivered, shown.dead_letters = 12, 9, 1
    shown.ledger.recent.extend([0.010, 0.030])
    assert progress_line(shown) == (
        "0s published=12 delivered=9 retrying=0 failed_on_purpose=- dead_letters=1 p50_ms=10 p99_ms=30"
    )


async def test_lines_come_once_a_second_and_survive_a_reader_that_went_away() -> None:
    stream = io.StringIO()
    screen, shown = LineScreen(stream), board(seconds=None)
    screen.open(shown)
    await screen.refresh()
    assert stream.getvalue() == ""
    shown.started_at -= 1.0
    await screen.refresh()
    await screen.refresh()
    assert len(stream.getvalue().splitlines()) == 1
    stream.close()
    shown.started_at -= 1.0
    await screen.refresh()
