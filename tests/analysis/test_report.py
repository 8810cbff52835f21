"""The report: what it says, that it needs nothing else, and that it can be read by everybody."""

from __future__ import annotations

import io
import itertools
import re
import shlex
import urllib.parse
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from results_factory import fill, make_failure, make_plan, make_record, make_spec, mini

import lnlbench
from lnlbench.analysis.ranking.contest import axes_of, group_trials, option_axes
from lnlbench.analysis.report.report_cells import command_of, make_cells, seeds_text
from lnlbench.analysis.report.report_charts import Axis, Dot, nice_step, scatter
from lnlbench.analysis.report.report_page import make_report
from lnlbench.analysis.trial_rows import trials_of
from lnlbench.cli import main
from lnlbench.errors import ExitCode, NothingSelectedError
from lnlbench.records.frame import build_frame
from lnlbench.records.reading.folders import Results, read_results
from lnlbench.records.store import Store

VOID = {"meta", "input", "br"}
EVIL = '<script>alert("x")</script>&'


def report_of(results: Results) -> str:
    return make_report(results.frame(), results.plans, results.read())


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two noise rates, five methods; a cell failed, one skipped, a seed pending."""
    folder = mini(tmp_path_factory.mktemp("mini") / "out").root
    store = read_results([folder])
    noise: dict[str, Any] = {
        "realised_rate": 0.5,
        "per_class": [0.4, 0.6],
        "transitions": [[60, 40], [60, 40]],
        "entropy": 0.69,
        "largest_class_share": 0.6,
        "labels_sha256": "a" * 64,
    }
    selection: dict[str, Any] = {"size": 50, "purity": 90.0, "recall": 80.0, "auc": 0.9}
    for record in store.read():
        if record.status == "done":
            metrics = record.metrics
            chosen = selection if record.spec.method.name == "turn" else None
            made = make_record(
                record.spec,
                metrics["best"],
                metrics["last"],
                noise=noise,
                selection=chosen,
                times=record.times,
            )
            Store.open(folder).put(made)
    return folder


@pytest.fixture(scope="module")
def page(out: Path) -> str:
    return report_of(read_results([out]))


class Reader(HTMLParser):
    """Collects elements, and fails where they are not nested."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


class Cells(HTMLParser):
    """Collects the texts of all cells, table by table and row by row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        self._inside = tag in ("td", "th", "code") or (self._inside and tag not in ("table", "tr"))

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.tables[-1][-1][-1] += data


def table_with(page: str, heading: str) -> list[dict[str, str]]:
    """Return the rows of the table that has a column."""
    heads, *rows = next(table for table in Cells(page).tables if heading in table[0])
    return [dict(zip(heads, row, strict=True)) for row in rows]


# What it needs


def test_it_is_one_file_that_asks_for_nothing(page: str) -> None:
    elements = Reader(page).elements
    links = [
        value for _, attributes in elements for name, value in attributes.items() if name in ("href", "src")
    ]
    assert all(link is not None and link.startswith(("#", "data:text/csv")) for link in links)
    assert not {"link", "img", "iframe", "object", "base", "form"} & {tag for tag, _ in elements}
    assert "url(" not in page
    (policy,) = [a["content"] for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not [a for _, a in elements if "style" in a or any(name.startswith("on") for name in a)]


def test_every_link_within_it_has_its_target(page: str) -> None:
    elements = Reader(page).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {str(a["href"])[1:] for tag, a in elements if tag == "a" and str(a.get("href")).startswith("#")}
    assert targets <= set(ids)


def test_the_same_records_give_the_same_bytes(out: Path, page: str) -> None:
    results = read_results([out])
    results.entries.reverse()
    assert report_of(results) == page


def test_what_others_wrote_is_text(tmp_path: Path) -> None:
    specs = [make_spec(EVIL, "lp", seed=seed) for seed in (0, 1)] + [make_spec("ce", "lp")]
    records = [
        *(make_record(spec, events={EVIL: 1}) for spec in specs[:2]),
        make_failure(specs[2], message=EVIL),
    ]
    plan = make_plan(specs)
    plan["title"] = EVIL
    page = report_of(read_results([fill(tmp_path / "out", records, plan).root]))
    assert [tag for tag, _ in Reader(page).elements].count("script") == 1
    assert EVIL in Reader(page).text


def test_degenerate_cases_are_counted_by_method(tmp_path: Path) -> None:
    specs = [make_spec("turn", "lp", seed=seed) for seed in (0, 1, 2)] + [make_spec("ce", "lp")]
    events = [{"a": 3}, {"a": 1, "b": 2}, {"a": 2}, {}]
    records = [make_record(spec, events=met) for spec, met in zip(specs, events, strict=True)]
    page = report_of(read_results([fill(tmp_path / "out", records, make_plan(specs)).root]))
    said = "turn: a (1 to 3 times in 3 of its trials); turn: b (2 times in 1 of its trials)."
    assert f"Degenerate cases that methods met and handled: {said}" in Reader(page).text


def test_it_stays_small(tmp_path: Path) -> None:
    """At most 1 MB per 1,000 trials, with twenty epochs each."""
    noises = [f"symmetric-0.{tenth}" for tenth in range(1, 6)]
    specs = [
        make_spec(method, "lp", noise, seed)
        for method in ("ce", "gce", "elr", "dividemix", "unicon", "turn", "a", "b")
        for noise in noises
        for seed in range(5)
    ]
    history = [{"phase": "lp", "epoch": epoch, "test": 50 + epoch / 7} for epoch in range(20)]
    records = [make_record(spec, 50 + number / 7, history=history) for number, spec in enumerate(specs)]
    frame = build_frame({"mini": make_plan(specs)}, records)
    assert len(make_report(frame, {"mini": make_plan(specs)}, records).encode()) <= 1000 * len(specs)


# What it says


def test_it_has_all_sections(page: str) -> None:
    found = re.findall(r'<section id="(\w+)">', page)
    assert found == [
        "belief",
        "table",
        "ranks",
        "cost",
        "cells",
        "curves",
        "noise",
        "selection",
        "gaps",
        "data",
    ]
    assert "cells have fewer than 3 seeds" in page


def test_cells_have_the_numbers_of_the_records(page: str) -> None:
    rows = {(row["method"], row["setting"]): row for row in table_with(page, "behind the best")}
    assert rows["LP GCE", "Symm. 0.6"]["best"] == "90.20 ± 0.28"
    assert rows["LP-FFT TURN", "Symm. 0.6"]["behind the best"] == "best"
    assert rows["LP GCE", "Symm. 0.6"]["behind the best"] == "0.60 tie"
    assert rows["LP CE", "Symm. 0.6"]["behind the best"] == "5.55"
    assert rows["LP GCE", "Symm. 0.9"]["best"] == "–"
    assert rows["LP-FFT TURN", "Symm. 0.6"]["purity [%]"] == "90.00"


def test_gaps_have_their_reasons(page: str) -> None:
    rows = table_with(page, "why")
    found = {(row["method"], row["setting"], row["trials"]): row["why"] for row in rows}
    assert found == {
        ("FFT CE", "Symm. 0.9", "1 of 2"): "pending: not run yet",
        ("LP GCE", "Symm. 0.9", "2 of 2"): "failed: TrialError: The loss is not finite.",
        ("LP-FFT TURN", "Symm. 0.9", "2 of 2"): "skipped: left out for its cost",
    }


def test_noise_is_told_as_it_was_realised(page: str) -> None:
    rows = table_with(page, "wrong labels [%]")
    assert [row["range over classes"] for row in rows] == ["40.0 – 60.0"] * 2
    assert "their SHA-256 agree" in page
    assert "class 0 given as 1: 40.0 %" in page


def test_labels_that_differ_between_methods_are_noticed() -> None:
    records = [
        make_record(make_spec(method, "lp"), noise={"realised_rate": 0.5, "labels_sha256": method})
        for method in ("ce", "gce")
    ]
    frame = build_frame({"mini": make_plan([record.spec for record in records])}, records)
    assert "With 1 of 1 seeds, methods did not see the same labels" in make_report(frame, {}, records)


def test_the_files_inside_have_every_trial(out: Path, page: str) -> None:
    links = re.findall(r'href="data:text/csv;charset=utf-8,([^"]*)"', page)
    trials, settings = (pd.read_csv(io.StringIO(urllib.parse.unquote(link))) for link in links)
    frame = lnlbench.load(out)
    joined = trials.merge(settings, on="setting", how="left")
    assert list(joined["trial_id"]) == list(frame["trial_id"])
    for name in ("best", "last", "train_s", "rate"):
        expected = frame[name].astype(float)
        assert joined[name].tolist() == pytest.approx(expected.tolist(), nan_ok=True)
    assert joined["phases"].tolist() == frame["phases"].tolist()


def test_one_method_alone_has_a_report_without_ranks(tmp_path: Path) -> None:
    spec = make_spec("ce", "lp")
    page = report_of(read_results([fill(tmp_path / "out", [make_record(spec)], make_plan([spec])).root]))
    assert "There is nothing to rank" in page
    with pytest.raises(NothingSelectedError):
        make_report(lnlbench.load(tmp_path / "out").head(0), {}, [])


def test_records_without_a_plan_have_a_report(tmp_path: Path) -> None:
    fill(tmp_path / "out", [make_record(make_spec("ce", "lp")), make_record(make_spec("gce", "lp"))])
    target = tmp_path / "report.html"
    assert main(["report", "--out", str(tmp_path / "out"), "--output", str(target)]) == ExitCode.OK
    assert "LP GCE" in target.read_text()


def test_it_ranks_by_the_accuracy_that_is_asked_for(tmp_path: Path) -> None:
    seeds = range(6)
    ahead_at = {"ce": (80.0, 50.0), "gce": (70.0, 65.0)}
    fill(
        tmp_path / "out",
        [
            make_record(make_spec(method, "lp", seed=seed), best + seed / 10, last + seed / 5)
            for method, (best, last) in ahead_at.items()
            for seed in seeds
        ],
    )
    said, behind = {}, {}
    for metric in ("best", "last"):
        target = tmp_path / f"{metric}.html"
        command = ["report", "--out", str(tmp_path / "out"), "--output", str(target), "--metric", metric]
        assert main(command) == ExitCode.OK
        page = target.read_text()
        said[metric] = Reader(page).text
        rows = table_with(page, "behind the best" if metric == "best" else "last, behind the best")
        behind[metric] = {row["method"]: list(row.values())[3] for row in rows}
    assert "LP CE has the best average rank" in said["best"]
    assert "mean best accuracy of 80.25 %" in said["best"]
    assert "LP GCE has the best average rank" in said["last"]
    assert "mean last accuracy of 65.50 %" in said["last"]
    assert behind == {
        "best": {"LP CE": "best", "LP GCE": "10.00"},
        "last": {"LP CE": "15.00", "LP GCE": "best"},
    }
    assert "--metric last" in said["last"]
    assert "--metric" not in said["best"]


def test_it_says_that_seeds_are_too_few_for_a_test(tmp_path: Path) -> None:
    records = [
        make_record(make_spec(m, "lp", seed=s), b + s)
        for m, b in (("ce", 60), ("gce", 80))
        for s in (0, 1, 2)
    ]
    text = Reader(report_of(read_results([fill(tmp_path / "out", records).root]))).text
    assert "Settings and seeds are too few for a test across settings" in text


# Commands


@pytest.mark.parametrize(("seeds", "text"), [([3], "3"), ([2, 0, 1], "0-2"), ([0, 1, 5, 7, 8], "0-1,5,7-8")])
def test_seeds_as_the_command_takes_them(seeds: list[int], text: str) -> None:
    assert seeds_text(seeds) == text


def _options(command: str) -> Iterator[tuple[str, str]]:
    words = shlex.split(command)
    assert words[:2] == ["lnlbench", "run"]
    yield from zip(words[2::2], words[3::2], strict=True)


@pytest.mark.parametrize(
    ("grid", "sets"),
    [
        ("quickstart", ("noise=symmetric-0.4,instance-0.4", "lp.epochs=2")),
        ("paper_table4", ()),  # whose rows differ in a parameter
        ("cifar10_cpu", ()),
        ("vit_tuning", ()),  # in a setting of a phase
        ("batch_norm", ()),  # and in an option as well
    ],
)
def test_the_command_of_a_cell_plans_its_trials_and_no_others(grid: str, sets: tuple[str, ...]) -> None:
    plan = lnlbench.plan(grid, sets=sets, seeds="0-1").to_dict()
    frame = build_frame({grid: plan}, [])
    varying = {name for name in ("dataset", "backbone") if frame[name].nunique() > 1}
    axes = axes_of([plan], frame)
    cells = make_cells(group_trials(trials_of(frame), axes))
    for cell in cells[:: max(1, len(cells) // 6)]:
        noise = cell.trials[0]["noise_label"]
        given = list(_options(command_of(cell, plan, (*axes, *option_axes([plan])), varying, noise)))
        again = lnlbench.plan(
            dict(given)["--grid"],
            where=[value for option, value in given if option == "--where"],
            sets=[value for option, value in given if option == "--set"],
            seeds=dict(given)["--seeds"],
        )
        planned = {trial.spec.trial_id for trial in again.planned}
        assert {trial["trial_id"] for trial in cell.trials} == planned


# Drawings


@pytest.mark.parametrize(
    ("rough", "nice"), [(0.3, 0.5), (1.0, 1.0), (7.0, 10.0), (20.0, 20.0), (0.012, 0.02)]
)
def test_steps_are_round(rough: float, nice: float) -> None:
    assert nice_step(rough) == pytest.approx(nice)


def test_places_on_axes() -> None:
    assert Axis(0, 10, 0, 100).at(2.5) == 25.0
    assert Axis(1, 100, 0, 100, log=True).at(10) == pytest.approx(50)
    assert Axis(0, 10, 0, 100).ticks() == [0, 2, 4, 6, 8, 10]
    assert Axis(0.09, 11, 0, 1, log=True).ticks() == [0.1, 0.2, 0.5, 1, 2, 5, 10]


def test_one_mark_has_a_plot() -> None:
    assert "<circle" in scatter([Dot(0.0, 5.0, "a", 0, "a")], "x", "y")


def test_no_label_lies_on_the_front() -> None:
    # One above the other, as where many methods have one cost: the front rises from the first through all.
    dots = [Dot(1.0, 10.0, "first", 0, "first"), Dot(5.0, 50.0, "second", 0, "second")]
    drawing = scatter(dots, "x", "y", [(1.0, 10.0), (5.0, 50.0)])
    (line,) = re.findall(r'class="front" points="([^"]+)"', drawing)
    corners = [tuple(map(float, corner.split(","))) for corner in line.split()]
    labels = re.findall(r'<text x="([\d.]+)" y="([\d.]+)">(first|second)</text>', drawing)
    assert len(labels) == 2
    for left, base, text in labels:
        right = float(left) + 5 * len(text)
        for (ax, ay), (bx, by) in itertools.pairwise(corners):
            across = float(left) < max(ax, bx) and right > min(ax, bx)
            along = float(base) - 9 < max(ay, by) and float(base) + 2 > min(ay, by)
            assert not (across and along), text


# Readers


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(first: str, second: str) -> float:
    high, low = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_wcag_by_its_own_example() -> None:
    assert _contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert _contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1])
def test_texts_and_marks_can_be_seen_in_both_themes(theme: int) -> None:
    style = files("lnlbench.analysis.report").joinpath("report.css").read_text()
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[theme]
    colours = dict(re.findall(r"--([\w]+): (#[0-9a-f]{6});", block))
    assert len([name for name in colours if re.fullmatch(r"c\d", name)]) == 8
    for name, colour in colours.items():
        if name not in ("bg", "panel", "line", "best"):
            assert _contrast(colour, colours["bg"]) >= 4.5, name  # AA for text, which marks need not reach
    for ground in ("panel", "best"):
        assert _contrast(colours["fg"], colours[ground]) >= 4.5


def test_it_can_be_read_aloud_and_by_keyboard(page: str) -> None:
    elements = Reader(page).elements
    assert ("html", {"lang": "en"}) in elements
    drawings = [a for tag, a in elements if tag == "svg" and a.get("aria-hidden") != "true"]
    assert drawings
    assert all(a.get("role") == "img" and a.get("aria-label") for a in drawings)
    assert all("scope" in a for tag, a in elements if tag == "th")
    assert all(a.get("tabindex") == "0" for tag, a in elements if a.get("class", "") == "scroll tall")
    headings = [int(tag[1]) for tag, _ in elements if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
