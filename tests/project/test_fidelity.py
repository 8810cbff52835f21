"""The fidelity page: it is current, complete, and what it leaves out is noticed."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from lnlbench.errors import ExitCode, UsageError
from lnlbench.plugins import registry
from lnlbench.spec import NOISE_TYPES
from tools.fidelity.__main__ import build, main
from tools.fidelity.covering import CoveringTest, covering_tests
from tools.fidelity.docstrings import parse
from tools.fidelity.facts import facts_of, method_facts, noise_facts
from tools.fidelity.gaps import gaps

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "fidelity.md"


@pytest.fixture(scope="module")
def tests() -> dict[str, list[CoveringTest]]:
    return covering_tests(ROOT / "tests")


# The page


def test_the_page_is_current_and_nothing_is_missing() -> None:
    page, missing = build(ROOT)
    assert missing == []
    assert PAGE.read_text(encoding="utf-8") == page, "make it anew: python -m tools.fidelity"


def test_every_method_and_generator_has_a_section_with_source_deviations_and_tests() -> None:
    sections = re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    names = [section.partition("\n")[0] for section in sections]
    ours = [entry.name for entry in registry.methods().entries() if entry.distribution == "lnlbench"]
    assert names == [*ours, *(kind for kind in NOISE_TYPES if kind not in ("real", "none"))]
    for section in sections:
        for part in ("**Source.** ", "**Deviations.**\n\n- ", "**Tests.**\n\n- [`"):
            assert part in section, section.partition("\n")[0]


def test_every_parameter_is_a_row_with_a_source() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for method in method_facts():
        section = page.partition(f"\n### {method.name}\n")[2].partition("\n### ")[0]
        table = section.partition("**Parameters.**")[2].partition("\n\n**")[0]
        rows = dict(re.findall(r"^\| `(\w+)` \| `[^`]+` \| [^|]+ \| ([^|]+) \|$", table, re.MULTILINE))
        assert list(rows) == [parameter.name for parameter in method.parameters]
        assert rows.keys() == method.defaults.keys()


# Gaps


def test_a_method_without_tests_is_a_gap(tests: dict[str, list[CoveringTest]]) -> None:
    rest = {name: found for name, found in tests.items() if name != "gce"}
    assert gaps([*method_facts(), *noise_facts()], rest) == ["gce: no test file says that it covers it."]


def test_tests_of_something_unknown_are_a_gap(tests: dict[str, list[CoveringTest]]) -> None:
    found = gaps([*method_facts(), *noise_facts()], tests | {"gcf": tests["gce"]})
    assert found == ["gcf: covered by a test, but unknown."]


def test_what_a_docstring_leaves_out_is_a_gap(tests: dict[str, list[CoveringTest]]) -> None:
    (gce,) = (method for method in method_facts() if method.name == "gce")
    others = [method for method in method_facts() if method.name != "gce"]
    bare = parse("Summary.\n\nAttributes\n----------\nq : float\n    Default 0.5.\nr : float\n    Radius.")
    harmed = dataclasses.replace(gce, docs=(bare,), parameters=bare.parameters("Attributes"))
    assert gaps([*others, harmed, *noise_facts()], tests) == [
        "gce: the docstring has no paragraph 'Source: …'.",
        "gce: the docstring has neither 'Deviations …' nor 'No deviations known.'.",
        "gce: the docstring of the class has no paragraph 'Costs …'.",
        "gce: parameter truncation has no description.",
        "gce: parameter q has no 'Source: …'.",
        "gce: the description of parameter q says 'Default 0.5', the code 0.7.",
        "gce: parameter r is described, but there is none.",
    ]


# Docstrings and classes


def test_a_docstring_is_taken_apart() -> None:
    doc = parse(
        """Summary.

        More of
        it.

        Costs 3 forward units.

        Deviations from the paper: one.

        Source: a paper.

        Attributes
        ----------
        q : float
            Meaning: of q. Default 0.7, or
            so. Source: theirs.
        how : {"a", "b"}
            Default "a b". Source: ours.

        Notes
        -----
        None.
        """
    )
    assert doc.claim == ("Summary.", "More of it.")
    assert (doc.cost, doc.source) == ("3 forward units.", "a paper.")
    assert doc.deviations == ("Deviations from the paper: one.",)
    q, how = doc.parameters("Attributes")
    assert (q.name, q.meaning) == ("q", "Meaning: of q. Default 0.7, or so.")
    assert (q.default, q.source) == ("0.7", "theirs.")
    assert (how.default, how.source) == ('"a b"', "ours.")


def test_no_docstring_is_empty() -> None:
    doc = parse(None)
    assert (doc.claim, doc.source, doc.cost, doc.parameters("Attributes")) == ((), "", "", ())


def test_shared_bases_and_pieces_are_followed() -> None:
    unicon = facts_of("unicon", registry.methods().load("unicon"))
    assert len(unicon.docs) == 2
    assert {"cotraining", "selection_rules", "mixing", "ramp"} <= set(unicon.pieces)
    assert unicon.steps["co_train"] == "Rank, select and train, for one network after the other."
    assert unicon.steps["warm_up"].startswith("Train a network for an epoch with cross-entropy")
    assert unicon.declined.keys() == {"data sets of features"}


# Tests and what they cover


def checkout(folder: Path, code: str) -> Path:
    (folder / "docs").mkdir()
    (folder / "tests").mkdir()
    (folder / "tests" / "test_it.py").write_text(code, encoding="utf-8")
    return folder


def test_a_test_covers_what_it_mentions_or_else_all_of_its_file(tmp_path: Path) -> None:
    code = """
COVERS = ("elr", "elr_plus", "noise:file")
def test_elr_plus_works(): pass
@pytest.mark.parametrize("cls", [ELR, ELRPlus])
def test_both(cls): pass
def test_by_string(): check("file")
def test_all(): pass
def helper(): pass
"""
    found = covering_tests(checkout(tmp_path, code) / "tests")
    names = {subject: [test.name.removeprefix("test_") for test in tests] for subject, tests in found.items()}
    assert names == {
        "elr": ["both", "all"],
        "elr_plus": ["elr_plus_works", "both", "all"],
        "noise:file": ["by_string", "all"],
    }
    assert found["elr_plus"][0].sentence == "Elr plus works"


@pytest.mark.parametrize("value", ['"gce"', '["gce"]', "(1,)", "names()"])
def test_covers_that_is_no_tuple_of_names(value: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"test_it\.py:1: COVERS is "):
        covering_tests(checkout(tmp_path, f"COVERS = {value}\n") / "tests")


# The command


def test_check_fails_on_a_page_that_is_out_of_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = checkout(tmp_path, 'COVERS = ("gce",)\ndef test_it(): pass\n')
    assert main(["--check"], root) == ExitCode.MISMATCH
    assert "out of date" in capsys.readouterr().err
    assert not (root / "docs" / "fidelity.md").exists()
    assert main([], root) == main(["--check"], root) == ExitCode.INCOMPLETE
    assert "ce: no test file says that it covers it.\n" in capsys.readouterr().err
    assert main(["--check"]) == ExitCode.OK
