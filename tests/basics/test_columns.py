"""Columns of text for terminals."""

from __future__ import annotations

from lnlbench.basics.columns import columns

ROWS = [["name", "n", "meaning"], ["a", "10", "x"], ["long name", "2", ""]]


def test_columns_stand_under_each_other_and_numbers_end_so() -> None:
    assert columns(ROWS, indent="  ", right=[1]) == [
        "  name        n  meaning",
        "  a          10  x",
        "  long name   2",
    ]


def test_the_last_column_is_wrapped_to_the_width() -> None:
    rows = [["a", "one two three four five six"], ["bb", "one"]]
    assert columns(rows, width=24) == ["a   one two three four", "    five six", "bb  one"]
    assert columns(rows, width=23) == ["a   one two three four five six", "bb  one"]  # no room to wrap it


def test_there_may_be_no_rows() -> None:
    assert columns([]) == []
