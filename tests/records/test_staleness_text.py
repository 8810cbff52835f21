"""What is said of stale records."""

from __future__ import annotations

from lnlbench.records.staleness import stale_warning


def test_nothing_is_said_of_none() -> None:
    assert stale_warning({}) is None


def test_reasons_are_named_once_and_the_first_three_only() -> None:
    reasons = {f"{number}": f"because of {number % 5}" for number in range(2000)}
    assert stale_warning(reasons) == (
        "2,000 records are stale: because of 0; because of 1; because of 2; and 2 more reasons. "
        "Run them again with --retry stale."
    )
    assert stale_warning({"a": "it was"}) == "1 record is stale: it was. Run them again with --retry stale."
