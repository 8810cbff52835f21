"""The speed measurements run, at sizes that measure nothing; their numbers are not looked at."""

from __future__ import annotations

import importlib
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version

import pytest
import torch
from lnlbench.benchmarks.perf.__main__ import SECTIONS
from lnlbench.benchmarks.perf.measure import Line, Rounds, interleave
from lnlbench.benchmarks.perf.plain_loop import preprocess

from lnlbench.models.sources.efficientnet_lite import EfficientNetLite0

RATIO = "×"
# Section → unit and aim of each of its lines.
LINES = {
    "fft": [(RATIO, 1.05), (RATIO, None), (RATIO, None), (RATIO, 1.05)],
    "lp": [(RATIO, 1.15)],
    "mapped": [(RATIO, 1.15), ("GB", 3.0), (RATIO, 1.15)],
    "batched": [(RATIO, 1 / 5)],
    "ray": [("s", 0.3)],
    "cli": [("s", 0.3)],
    "records": [("s", 1.0), ("s", 2.0), ("s", 3.0), *[(RATIO, 11.5)] * 3],
    "select": [(RATIO, 1.15), ("GB", 2.0), (RATIO, 1 / 5)],
    "methods": [*[(RATIO, 1.15)] * 4, *[(RATIO, 1 / 20)] * 2, (RATIO, 1 / 4)],
}


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_all_sections_are_tried_here() -> None:
    assert list(SECTIONS) == list(LINES)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("section", LINES)
def test_section_reports_its_lines(section: str) -> None:
    module = importlib.import_module(f"lnlbench.benchmarks.perf.{SECTIONS[section][0]}")
    lines = list(module.run(1, True))
    assert [(line.unit, line.aim) for line in lines] == LINES[section]
    assert {line.section for line in lines} == {section}
    assert all(line.samples and all(value > 0.0 for value in line.medians.values()) for line in lines)


def perf(*arguments: str) -> str:
    command = [sys.executable, "-m", "lnlbench.benchmarks.perf", "--quick", "--threads", "1", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_text_is_question_answer_and_circumstances() -> None:
    question, answer, circumstances = perf("cli").splitlines()
    assert question.startswith("cli      wall-clock of lnlbench --help: lnlbench --help ")
    assert "; aim ≤ 0.3 s: m" in answer
    assert f", --threads 1, Python {platform.python_version()}, torch " in circumstances


def test_json_has_the_environment_and_the_lines() -> None:
    report = json.loads(perf("cli", "--format", "json"))
    assert report["quick"] is True
    assert report["environment"]["versions"]["torch"] == version("torch")
    assert [line["section"] for line in report["lines"]] == ["cli"]
    assert report["lines"][0]["medians_s"].keys() == {"lnlbench --help", "python -c pass"}


def test_competitors_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def competitor(name: str) -> float:
        order.append(name)
        return float(len(order))

    rounds = interleave({"a": lambda: competitor("a"), "b": lambda: competitor("b")}, 2)
    assert order == ["a", "b", "a", "b", "b", "a"]
    assert rounds.values == {"a": (3.0, 6.0), "b": (4.0, 5.0)}
    assert rounds.median("a") == 4.5


def test_ratios_and_differences_are_those_of_each_round() -> None:
    rounds = Rounds({"a": (2.0, 6.0), "b": (1.0, 4.0)})
    assert rounds.ratios("a", "b") == (2.0, 1.5)
    assert rounds.differences("a", "b") == (1.0, 2.0)


def line(result: float, aim: float | None) -> Line:
    return Line("lp", "core / loop", "digits", {"core": result, "loop": 1.0}, (result,), aim=aim)


def test_a_verdict_says_by_how_much() -> None:
    assert line(1.1, 1.25).verdict() == "aim ≤ 1.25 ×: met by 0.15 × (12%)"
    assert line(1.5, 1.25).verdict() == "aim ≤ 1.25 ×: missed by 0.25 × (20%)"
    assert line(1.5, None).verdict() == "no aim"


def test_the_yardstick_preprocesses_as_the_core_does() -> None:
    preprocessing = EfficientNetLite0.preprocessing.with_size(64)
    images = torch.randint(256, (4, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    torch.testing.assert_close(preprocess(images, preprocessing), preprocessing(images))
