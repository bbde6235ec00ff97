"""The report of the fault suite: rows from several processes, joined in order; prose around the table stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fault_report import (
    BEGIN,
    END,
    Row,
    put_between_markers,
    read_rows,
    read_versions,
    report,
    table,
    write_row,
    write_versions,
)

ROW = Row(
    number=2,
    fault="ack lost",
    events=10,
    deliveries=20,
    lost=0,
    duplicates=1,
    duplicates_allowed=3,
    dead_letters=0,
    recover_seconds=1.26,
    recovered="last delivery",
    test="tests/faults/test_broker.py::test_ack[1]",
)


def test_rows_come_back_in_the_order_of_the_list(tmp_path: Path) -> None:
    rows = [replace(ROW, number=number, test=f"test-{number}") for number in (10, 2, 1)]
    for row in rows:
        write_row(tmp_path, row)
    write_row(tmp_path, rows[0])  # once more: the same test
    assert read_rows(tmp_path) == rows[::-1]


def test_table_has_a_line_per_row_and_their_sums() -> None:
    lines = table([ROW, replace(ROW, duplicates=4, recover_seconds=None)]).splitlines()
    assert lines[2] == "| 2 | ack lost | 10 | 20 | 0 | 0 | 1 | 3 | 1.3 s: last delivery |"
    assert lines[3].endswith("| **4** | 3 | – |")
    assert lines[4] == "| | **2 faults** | 20 | 40 | 0 | **0** | 5 | 6 | |"


def test_report_names_the_command_and_the_machine(tmp_path: Path) -> None:
    write_versions(tmp_path, RabbitMQ="3.10.8", SecantusDB="0.7")
    text = report([ROW], read_versions(tmp_path), command="make faults", minutes=7.6)
    assert text.startswith("Measured by `make faults` in 8 min on ")
    assert "RabbitMQ 3.10.8, SecantusDB 0.7" in text


def test_prose_around_the_markers_stays(tmp_path: Path) -> None:
    page = tmp_path / "faults.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    put_between_markers(page, "new")
    put_between_markers(page, "newer")
    assert page.read_text() == f"before\n{BEGIN}\nnewer\n{END}\nafter\n"


def test_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "faults.md"
    page.write_text("prose\n")
    with pytest.raises(AssertionError, match="markers"):
        put_between_markers(page, "new")
    assert page.read_text() == "prose\n"
