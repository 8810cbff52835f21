"""Tables: numbers, notes, golden files, escaping.

``python tests/analysis/test_tables.py`` writes the golden files anew.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import tempfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from results_factory import fill, make_failure, make_plan, make_record, make_spec, mini

import lnlbench
from lnlbench.analysis.caption import title_of
from lnlbench.analysis.tables.render import render
from lnlbench.analysis.tables.render_csv import escape_csv
from lnlbench.analysis.tables.render_html import escape_html
from lnlbench.analysis.tables.render_latex import escape_latex
from lnlbench.analysis.tables.render_markdown import escape_markdown
from lnlbench.analysis.tables.tables import Table, build_table
from lnlbench.errors import NothingSelectedError, UsageError
from lnlbench.records.frame import build_frame, load_frame
from lnlbench.records.record import Record
from lnlbench.spec import BackboneSpec, PhaseSpec, TrialSpec

GOLDEN = Path(__file__).parents[1] / "golden"
SUFFIXES = {"text": "txt", "markdown": "md", "latex": "tex", "html": "html", "csv": "csv"}
MINI_LAYOUT = {"caption": "A small grid", "extra": ["train_s", "cost"]}
GROUPED_LAYOUT = {"groups": ["noise"], "columns": ["seed"], "metric": "oracle", "extra": []}


def frame_of(*records: Record, planned: list[TrialSpec] | None = None, **skips: str) -> pd.DataFrame:
    specs = planned or [record.spec for record in records]
    return build_frame({"mini": make_plan(specs, skips)}, records)


def notes_of(table: Table, row: int, column: int) -> list[str]:
    return [table.footnotes[number - 1] for number in table.cells[row][column].notes]


def means_of(table: Table, row: int, column: int) -> list[float]:
    return [value.summary.mean for value in table.cells[row][column].values]


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return load_frame(mini(tmp_path_factory.mktemp("mini") / "out").root)


# Golden files


@pytest.mark.parametrize("form", SUFFIXES)
@pytest.mark.parametrize(("name", "layout"), [("mini", MINI_LAYOUT), ("grouped", GROUPED_LAYOUT)])
def test_golden(frame: pd.DataFrame, name: str, layout: dict[str, Any], form: str) -> None:
    expected = (GOLDEN / f"{name}.{SUFFIXES[form]}").read_text(encoding="utf-8")
    assert render(build_table(frame, layout), form) == expected


def write_golden_files() -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = load_frame(mini(Path(folder) / "out").root)
    for name, layout in (("mini", MINI_LAYOUT), ("grouped", GROUPED_LAYOUT)):
        for form, suffix in SUFFIXES.items():
            text = render(build_table(results, layout), form)
            (GOLDEN / f"{name}.{suffix}").write_text(text, encoding="utf-8")


# Noise files


def titled(noise: str, title: str, seed: int = 0) -> Record:
    record = make_record(make_spec(noise=noise, seed=seed))
    return replace(record, noise={**record.noise, "label": title} if title else record.noise)


def test_a_noise_file_has_the_name_that_it_gives_itself() -> None:
    records = [titled("file:a.npz", "Ours"), titled("symmetric-0.6", "")]
    pending = make_spec(noise="file:a.npz", seed=1)
    table = build_table(frame_of(*records, planned=[*(r.spec for r in records), pending]))
    assert [column.label for column in table.columns][:2] == ["Ours", "Symm. 0.6"]
    assert table.cells[0][0].notes  # one of its two seeds is missing, and is not a column of its own


def test_two_noise_files_of_one_name_stay_two() -> None:
    table = build_table(frame_of(titled("file:a.npz", "Ours"), titled("file:b.npz", "Ours")))
    assert [column.label for column in table.columns][:2] == ["file:a.npz", "file:b.npz"]


# Data without images


def test_a_data_set_of_features_names_no_backbone_and_no_image_size() -> None:
    spec = make_spec(tuning="lp", dataset="features:/data/pets.npz", noise="file:/data/noisy.npz")
    spec = replace(
        spec, backbone=BackboneSpec("efficientnet_lite0", image_size=64)
    )  # as earlier plans have it
    frame = frame_of(make_record(spec))
    (row,) = frame.to_dict("records")
    assert pd.isna(row["backbone"])
    assert pd.isna(row["rate"])  # nobody says that of a noise file
    table = build_table(frame)
    assert table.columns[0].whole_group == "features:pets.npz"
    for form in SUFFIXES:
        text = render(table, form)
        assert "EfficientNet" not in text
        assert "px" not in text
    both = build_table(frame_of(make_record(spec), make_record(make_spec("gce", "lp"))))
    assert {column.group for column in both.columns} == {"features:pets.npz", "digits, EfficientNet-Lite0"}


def test_the_cost_of_fine_tuning_counts_where_it_is_filtered_out() -> None:
    reference = make_record(make_spec("ce", "fft"))
    half = {name: count // 2 for name, count in reference.ledger["training"].items()}
    cheap = make_record(
        make_spec("gce", "fft"), ledger={"training": half, "features": {"backbone_forward": 0}}
    )
    frame = frame_of(reference, cheap)
    table = build_table(frame[frame["method"] == "gce"], {"metric": "cost", "extra": []})
    # 50 forward and 500 both ways, against 100, 1,000 both ways and 50 for features.
    assert means_of(table, 0, 0) == [(50 + 500 * 3) / (100 + 1000 * 3 + 50)]


def test_a_selection_without_truth_has_a_size_in_tables() -> None:
    selection = {"size": 40, "score": [0.0, 0.2, 0.5, 0.8, 1.0], "per_class": {"size": [20, 20]}}
    record = make_record(make_spec("turn", "lp-fft", noise="real"), selection=selection)
    table = build_table(frame_of(record), {"metric": ["selected", "purity"], "extra": []})
    assert means_of(table, 0, 0) == [40.0]
    assert notes_of(table, 0, 1) == ["without a value for purity"]


# What a title and a cell must not hide


def test_a_title_says_what_was_set() -> None:
    sets = ["--set noise=asymmetric-0.4", "--set seeds=0-4", "--where method=ce", "--set lp.epochs=2"]
    plan = {"title": "Digits under symmetric noise.", "source": {"overrides": sets}}
    changed = ", changed by noise=asymmetric-0.4; lp.epochs=2"
    assert title_of(plan, {}) == f"Digits under symmetric noise{changed}"
    assert title_of(plan, {"caption": "Table 1"}) == f"Table 1{changed}"
    assert title_of(plan | {"source": {}}, {}) == "Digits under symmetric noise."
    assert title_of({}, {}) == ""


def test_a_title_shows_no_folders() -> None:
    sets = ["--set hyperparameters=/home/me/mine.toml", "--set dataset=npz:/data/a.npz,digits"]
    sets += ["--set backbone=hf:google/vit", "--set method=/home/me/own.py:Own"]
    assert title_of({"title": "Mine", "source": {"overrides": sets}}, {}) == (
        "Mine, changed by hyperparameters=mine.toml; dataset=npz:a.npz,digits; backbone=hf:google/vit; "
        "method=own.py:Own"
    )


def test_seeds_of_different_precision_are_averaged_with_a_note() -> None:
    frame = frame_of(make_record(make_spec(seed=0), 80.0), make_record(make_spec(seed=1), 82.0))
    assert notes_of(build_table(frame), 0, 0) == []
    frame["precision"] = ["fp32", "bf16"]
    table = build_table(frame)
    assert means_of(table, 0, 0)[0] == 81.0
    assert notes_of(table, 0, 0) == ["seeds ran in different precisions (bf16, fp32)"]
    assert "Computed in bf16 (1 trials) and fp32 (1 trials)." in table.caption
    frame["precision"] = "tf32"
    table = build_table(frame)
    assert "Computed in tf32." in table.caption
    assert notes_of(table, 0, 0) == []
    frame["precision"] = "fp32"
    assert not any("Computed in" in sentence for sentence in build_table(frame).caption)


# Arrangement and numbers


def test_rows_and_columns_stand_in_the_plans_order(frame: pd.DataFrame) -> None:
    table = build_table(frame)
    assert table.rows == (("FFT", "CE"), ("LP", "CE"), ("LP", "GCE"), ("LP", "mine"), ("LP-FFT", "TURN"))
    assert [column.label for column in table.columns] == ["Symm. 0.6", "Symm. 0.9", "train [s]"]


def test_cells_hold_mean_and_sample_deviation(frame: pd.DataFrame) -> None:
    best, last = build_table(frame).cells[0][0].values
    # Seeds 80 and 82, 60 and 61: deviations sqrt(2) and sqrt(1/2).
    assert (best.summary.mean, best.summary.n) == (81.0, 2)
    assert best.summary.sd == pytest.approx(2**0.5)
    assert last.summary.sd == pytest.approx(0.5**0.5)


def test_best_and_inseparable_are_marked_per_metric(frame: pd.DataFrame) -> None:
    cells = [row[0].values for row in build_table(frame).cells]
    assert [best.best for best, _ in cells] == [False, False, False, False, True]
    assert [last.best for _, last in cells] == [False, False, True, False, False]
    # Against TURN's 90.8 ± 0.28: GCE is 0.6 away (margin 0.28 * 4.3 = 1.2), LP-CE 5.5.
    assert [best.inseparable for best, _ in cells] == [True, False, True, False, False]


def test_nothing_is_marked_where_there_is_nothing_to_compare() -> None:
    (value, *_) = build_table(frame_of(make_record(make_spec()))).cells[0][0].values
    assert not value.best
    assert not value.inseparable


def test_equal_means_are_both_best() -> None:
    table = build_table(frame_of(make_record(make_spec("ce")), make_record(make_spec("gce"))))
    assert [row[0].values[0].best for row in table.cells] == [True, True]


def test_each_group_has_its_own_best_and_extras() -> None:
    records = [
        make_record(make_spec(method, dataset=dataset), best=best, times={"train_s": seconds})
        for dataset, method, best, seconds in [
            ("digits", "ce", 50.0, 1.0),
            ("digits", "gce", 40.0, 2.0),
            ("pets", "ce", 60.0, 3.0),
            ("pets", "gce", 70.0, 4.0),
        ]
    ]
    table = build_table(frame_of(*records))
    assert table.grouped
    assert [column.group for column in table.columns] == ["digits"] * 2 + ["pets"] * 2
    assert {column.whole_group for column in table.columns} == {
        "digits, EfficientNet-Lite0",
        "pets, EfficientNet-Lite0",
    }
    assert [[cell.values[0].best for cell in row] for row in table.cells] == [
        [True, False, False, False],
        [False, False, True, False],
    ]
    assert [means_of(table, 1, column) for column in (1, 3)] == [[2.0], [4.0]]


def test_columns_stand_only_under_groups_that_have_them() -> None:
    records = [
        make_record(make_spec(dataset="digits")),
        make_record(make_spec(noise="none", dataset="webvision")),
    ]
    table = build_table(frame_of(*records), {"extra": []})
    assert [(column.group, column.label) for column in table.columns] == [
        ("digits", "Symm. 0.6"),
        ("WebVision", "No noise"),
    ]


def test_cost_is_relative_to_ce_with_fft() -> None:
    def cost(backward: int, features: int) -> dict[str, dict[str, int]]:
        counts = {"backbone_forward": 0, "backbone_forward_grad": backward, "backbone_backward": backward}
        return {"training": counts, "features": {"backbone_forward": features}}

    records = [
        make_record(make_spec("ce"), ledger=cost(500, 0)),  # 1,500 units
        make_record(make_spec("turn", "lp-fft"), ledger=cost(150, 300)),  # 750 units
    ]
    table = build_table(frame_of(*records), {"extra": ["cost"]})
    assert means_of(table, 1, 1) == [0.5]
    alone = build_table(frame_of(records[1]), {"extra": ["cost"]})
    # A column of dashes would say no more than the sentence.
    assert [column.label for column in alone.columns] == ["Symm. 0.6"]
    assert "No relative cost: no result of CE with FFT to compare the cost with." in alone.caption


@pytest.mark.parametrize(("epoch", "noted"), [(19, True), (20, False)])
def test_a_best_epoch_of_the_probing_phase_is_noted(epoch: int, noted: bool) -> None:
    metrics = {"best": 80.0, "last": 70.0, "oracle": 80.0, "best_epoch": epoch, "oracle_epoch": epoch}
    turn = make_spec("turn", "lp-fft")  # 20 epochs of probing, then 4
    table = build_table(frame_of(make_record(turn, metrics=metrics)), {"extra": []})
    assert notes_of(table, 0, 0) == ["best is from a phase before the last one (LP)"] * noted
    last = build_table(frame_of(make_record(turn, metrics=metrics)), {"extra": [], "metric": "last"})
    assert notes_of(last, 0, 0) == []


def test_a_caption_can_be_short_or_left_out() -> None:
    frame = frame_of(make_record(make_spec("ce")), make_record(make_spec("gce"), best=60.0))
    layout = {"caption": "Two methods"}
    full = build_table(frame, layout).caption
    short = build_table(frame, layout, caption="short").caption
    assert short[0] == "Two methods."
    assert set(short) < set(full)
    assert any("in bold" in sentence for sentence in short)
    bare = build_table(frame, layout, caption="none")
    assert bare.caption == ()
    assert "caption" not in render(bare, "latex")
    assert "<caption>" not in render(bare, "html")


def test_a_parameter_can_be_an_axis() -> None:
    specs = [make_spec("turn", "lp-fft", params=(("tau", tau),)) for tau in (0.5, 0.6)]
    records = [make_record(spec, best=best) for spec, best in zip(specs, (80.0, 90.0), strict=True)]
    table = build_table(frame_of(*records), {"rows": ["params.tau"], "extra": []})
    assert table.stub == ("τ",)
    assert table.rows == (("0.5",), ("0.6",))


def test_an_option_can_be_an_axis_and_is_part_of_the_problem() -> None:
    plan = lnlbench.plan("batch_norm", seeds="0", where=["dataset=digits", "method=ce"])
    lasts = {(64, "update"): 30.0, (64, "frozen"): 80.0, (96, "update"): 70.0, (96, "frozen"): 60.0}
    records = [
        make_record(
            planned.spec, last=lasts[planned.spec.backbone.image_size, planned.spec.phases[1].batch_norm]
        )
        for planned in plan.planned
        if planned.spec.phases[1].batch_norm != "adapt"
    ]
    layout = {"rows": ["fft.batch_norm"], "columns": ["backbone_options.image_size"], "metric": "last"}
    table = build_table(frame_of(*records), layout | {"extra": []})
    assert [column.label for column in table.columns] == ["image size = 64", "image size = 96"]
    assert [[cell.values[0].best for cell in row] for row in table.cells] == [[False, True], [True, False]]
    with pytest.raises(UsageError, match="among its backbone_options 'imagesize'") as caught:
        build_table(frame_of(*records), layout | {"columns": ["backbone_options.imagesize"]})
    assert "image_size" in str(caught.value.hint)


def test_a_trial_of_two_grids_counts_once() -> None:
    spec = make_spec()
    plans = {name: make_plan([spec], grid=name) for name in ("one", "two")}
    table = build_table(build_frame(plans, [make_record(spec)]))
    assert table.cells[0][0].values[0].summary.n == 1


# Blank and special cells


def test_every_blank_cell_has_a_note(frame: pd.DataFrame) -> None:
    cells = [cell for row in build_table(frame, MINI_LAYOUT).cells for cell in row]
    assert all(cell.notes for cell in cells if not cell.values)


def test_reasons_are_told_apart() -> None:
    specs = {name: make_spec(name) for name in ("ce", "gce", "elr", "turn")}
    table = build_table(
        frame_of(
            make_record(specs["ce"]),
            make_failure(specs["gce"], "ValueError", "first line\nsecond line"),
            planned=list(specs.values()),
            **{specs["elr"].trial_id: "needs more memory"},
        )
    )
    assert notes_of(table, 0, 0) == []
    assert notes_of(table, 1, 0) == ["failed: ValueError: first line"]
    assert notes_of(table, 2, 0) == ["skipped: needs more memory"]
    assert notes_of(table, 3, 0) == ["pending"]
    assert [row[0].complete for row in table.cells] == [True, False, True, False]
    assert not table.complete


def test_a_combination_outside_the_plan_is_said_to_be_so() -> None:
    records = [make_record(make_spec("ce")), make_record(make_spec("gce", noise="none"))]
    table = build_table(frame_of(*records))
    assert notes_of(table, 0, 1) == ["not in the plan"]
    assert table.complete


def test_missing_seeds_are_counted(frame: pd.DataFrame) -> None:
    table = build_table(frame)
    assert means_of(table, 0, 1) == [40.0, 20.0]
    assert notes_of(table, 0, 1) == ["1 of 2 seeds pending"]


def test_trials_that_differ_in_more_than_the_seed_are_not_averaged() -> None:
    records = [make_record(make_spec(params=(("q", q),))) for q in (0.5, 0.7)]
    table = build_table(frame_of(*records))
    assert table.cells[0][0].values == ()
    assert "different settings" in notes_of(table, 0, 0)[0]
    assert not table.complete


def test_stale_and_current_records_are_not_mixed() -> None:
    records = [
        make_record(
            make_spec(seed=seed), best=best, finished=f"2025-01-0{seed + 1}", plugin={"fingerprint": code}
        )
        for seed, best, code in [(0, 10.0, "a" * 64), (1, 20.0, "b" * 64), (2, 30.0, "b" * 64)]
    ]
    table = build_table(frame_of(*records))
    assert means_of(table, 0, 0)[0] == 25.0
    assert notes_of(table, 0, 0) == [
        "1 of 3 seeds made by older code or from other data than the rest, left out"
    ]
    assert not table.complete


def test_a_cell_of_stale_records_says_so() -> None:
    old = make_record(make_spec(), finished="2025-01-01", plugin={"fingerprint": "a" * 64})
    new = make_record(make_spec(noise="none"), finished="2025-01-02", plugin={"fingerprint": "b" * 64})
    table = build_table(frame_of(old, new))
    assert notes_of(table, 0, 0)[0].startswith("stale: method changed")
    assert notes_of(table, 0, 1) == []


def test_a_record_without_the_metric_is_no_number() -> None:
    table = build_table(frame_of(make_record(make_spec(), metrics={"last": 5.0})))
    assert table.cells[0][0].values == ()
    assert notes_of(table, 0, 0) == ["without a value for best / last"]


# Caption


def test_oracle_is_labelled_in_header_and_caption(frame: pd.DataFrame) -> None:
    table = build_table(frame, {"metric": "oracle"})
    assert table.columns[0].sublabel == "oracle"
    assert "oracle: highest test accuracy" in " ".join(table.caption)


def test_one_seed_claims_no_spread() -> None:
    text = " ".join(build_table(frame_of(make_record(make_spec()))).caption)
    assert "n = 1" in text
    assert "underlined" not in text


def test_without_results_the_caption_says_so() -> None:
    assert "There are no results to show." in build_table(frame_of(planned=[make_spec()])).caption


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"validation_labels": "clean"}, "alidation labels"),
        ({"noise_aware": True}, "noise-aware"),
        ({"cache": False}, "live images"),
        ({"shared_device": True}, "upper bounds"),
    ],
)
def test_protocol_flags_are_in_the_caption_if_general_and_on_cells_if_not(
    change: dict[str, Any], words: str
) -> None:
    def record(method: str) -> Record:
        spec = make_spec(method, "lp", **{name: True for name in change if name == "noise_aware"})
        if "validation_labels" in change:
            spec = replace(spec, dataset=replace(spec.dataset, validation_labels="clean"))
        if "cache" in change:
            spec = replace(spec, phases=(PhaseSpec("lp", 20, cache=False),))
        result = make_record(spec)
        return replace(result, execution=result.execution | {"shared_device": "shared_device" in change})

    everywhere = build_table(frame_of(record("ce"), record("gce")))
    assert words in " ".join(everywhere.caption)
    assert everywhere.footnotes == ()
    here = build_table(frame_of(record("ce"), make_record(make_spec("gce", "lp"))))
    assert words not in " ".join(here.caption)
    assert any(words in note for note in notes_of(here, 0, 0))
    assert notes_of(here, 1, 0) == []


def test_shared_cores_are_told_only_where_times_are_shown() -> None:
    shared, alone = make_record(make_spec("ce")), make_record(make_spec("gce"))
    shared = replace(shared, execution=shared.execution | {"shared_device": True})
    for records in ([shared], [shared, alone]):
        frame = frame_of(*records)
        told = build_table(frame)
        assert any("upper bounds" in text for text in (*told.caption, *told.footnotes))
        bare = build_table(frame, {"extra": ["cost"]})
        assert not any("upper bounds" in text for text in (*bare.caption, *bare.footnotes))


def test_times_of_different_machines_are_called_incomparable() -> None:
    one, other = make_record(make_spec()), make_record(make_spec("gce"))
    other = replace(other, execution=other.execution | {"device": "cuda:0"})
    assert "not comparable everywhere" in " ".join(build_table(frame_of(one, other)).caption)


def test_provenance_names_modified_code() -> None:
    record = make_record(make_spec(), environment={"lnlbench": "0.1.0", "commit": "abc", "dirty": True})
    assert build_table(frame_of(record)).provenance == (
        ("lnlbench", "0.1.0"),
        ("commit", "abc (modified)"),
        ("grid", "mini"),
        ("records", "1"),
        ("date", "2025-01-01"),
    )


# Layouts


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"colums": ["noise"]}, "Did you mean 'columns'"),
        ({"rows": ["metod"]}, "Did you mean 'method'"),
        ({"metric": "bets"}, "Did you mean 'best'"),
        ({"extra": ["train"]}, "Did you mean 'train_s'"),
        ({"rows": []}, "needs rows and columns"),
        ({"rows": [1]}, "must list names"),
    ],
)
def test_wrong_layouts_are_errors(frame: pd.DataFrame, layout: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_table(frame, layout)


def test_no_trials_make_no_table() -> None:
    with pytest.raises(NothingSelectedError):
        build_table(build_frame({}, []))


# Escaping

EVIL = [
    r"\input{x}",
    "<script>alert(1)</script>",
    "a|b",
    "-->",
    "=1+1",
    "*/_[x](y)",
    "50%&$#^~",
    "\x1b[2J\x07é",
]


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Table:
    records = [make_record(make_spec(name)) for name in EVIL] + [make_failure(make_spec("f"), "E", "<b>\\")]
    plan = make_plan([record.spec for record in records], grid="--> \\end{x}")
    return build_table(load_frame(fill(tmp_path_factory.mktemp("evil") / "out", records, plan).root))


@pytest.mark.parametrize("form", SUFFIXES)
def test_no_renderer_lets_control_characters_through(evil: Table, form: str) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", render(evil, form))


def test_markdown_has_no_markup_but_its_own(evil: Table) -> None:
    text = render(evil, "markdown")

    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.tags: set[str] = set()
            self.comments: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.tags.add(tag)

        def handle_comment(self, data: str) -> None:
            self.comments.append(data)

    parser = Tags()
    parser.feed(text)
    assert parser.tags <= {"br", "sup", "ins"}
    assert len(parser.comments) == 1
    assert text.rstrip().endswith(f"{parser.comments[0]}-->")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {len(evil.stub) + len(evil.columns) + 1}


def test_html_has_no_markup_but_its_own(evil: Table) -> None:
    text = render(evil, "html")
    tags = set(re.findall(r"<(\w+)", text))
    assert tags <= {
        *("table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"),
        *("strong", "u", "sup", "a", "ol", "li", "small"),
    }
    assert "<!--" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_latex_has_no_commands_but_its_own(evil: Table) -> None:
    text = render(evil, "latex")
    assert r"\input" not in text
    assert r"\textbackslash{}input\{x\}" in text
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert re.findall(r"\\(?:begin|end)\{\w+\}", body) == [
        r"\begin{table}",
        r"\begin{tabular}",
        r"\end{tabular}",
        r"\end{table}",
    ]
    assert text.isascii()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(evil: Table, tmp_path: Path) -> None:
    (tmp_path / "table.tex").write_text(render(evil, "latex"))
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{table}\end{document}"
    (tmp_path / "main.tex").write_text(document)
    subprocess.run(["pdflatex", "-halt-on-error", "main.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_csv_names_come_back_and_are_no_formulas(evil: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(render(evil, "csv"))))
    names = {row["Method"] for row in rows}
    assert {r"\input{x}", "<script>alert(1)</script>", "a|b", "'-->", "'=1+1"} <= names


@given(st.text())
def test_latex_escaping_leaves_nothing_active(text: str) -> None:
    escaped = escape_latex(text)
    assert escaped.isascii()
    rest = re.sub(r"\\(?:textbackslash|text\w+|char34|ldots)\{\}|\\[{}&%$#_]|\$\\[a-z]+\$", "", escaped)
    assert not re.search(r"[\\&%$#_~^\n]", rest)
    assert not re.search(r"[{}]", re.sub(r"\{[\[\]*]\}", "", rest))


@given(st.text())
def test_markdown_escaping_leaves_nothing_active(text: str) -> None:
    rest = re.sub(r"\\[!-/:-@\[-`{-~]|&(?:amp|lt|gt);", "", escape_markdown(text))
    assert not re.search(r"[\\`*_\[\]<>|&\n]", rest)


@given(st.text())
def test_html_escaping_leaves_nothing_active(text: str) -> None:
    rest = re.sub(r"&(?:amp|lt|gt|quot|#x27);", "", escape_html(text))
    assert not re.search(r"[<>&\"'\n]", rest)


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1).map(str.strip))
def test_csv_escaping_only_adds_a_quote(text: str) -> None:
    text = " ".join(text.split())
    escaped = escape_csv(text)
    assert escaped[:1] not in ("=", "+", "-", "@") or not escaped
    assert escaped in (text, f"'{text}")


if __name__ == "__main__":
    write_golden_files()
