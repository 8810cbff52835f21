"""``python -m tools.fidelity [--check]``, from the root of a source checkout."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lnlbench.errors import ExitCode
from tools.fidelity.covering import covering_tests
from tools.fidelity.facts import method_facts, noise_facts
from tools.fidelity.gaps import gaps
from tools.fidelity.page import render

ROOT = Path(__file__).parents[2]


def build(root: Path) -> tuple[str, list[str]]:
    """Return the page of a source checkout, and what is missing for it to be complete."""
    tests = covering_tests(root / "tests")
    methods, noises = method_facts(), noise_facts()
    return render(methods, noises, tests), gaps([*methods, *noises], tests)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write or check ``docs/fidelity.md`` and return the exit code: 0, 1 for gaps, 4 if out of date."""
    parser = argparse.ArgumentParser(prog="python -m tools.fidelity", description="Write docs/fidelity.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it is out of date")
    check = parser.parse_args(arguments).check
    page, missing = build(root)
    for gap in missing:
        print(gap, file=sys.stderr)
    target = root / "docs" / "fidelity.md"
    if not check:
        target.write_text(page, encoding="utf-8")
    elif not target.is_file() or target.read_text(encoding="utf-8") != page:
        print(f"{target} is out of date. Make it anew: python -m tools.fidelity", file=sys.stderr)
        return ExitCode.MISMATCH
    return ExitCode.INCOMPLETE if missing else ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
