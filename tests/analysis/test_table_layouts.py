"""Tables in the layouts of the TURN paper, from records with fixed numbers.

``python tests/analysis/test_table_layouts.py`` writes the golden files anew.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from results_factory import PHASES, make_plan, make_record, make_spec

from lnlbench.analysis.tables.render import RENDERERS, latex_document, render, render_document
from lnlbench.analysis.tables.tables import Table, build_table
from lnlbench.errors import UsageError
from lnlbench.records.frame import build_frame
from lnlbench.records.plan_file import planned_spec
from lnlbench.records.record import Record
from lnlbench.spec import BackboneSpec, DatasetSpec, PhaseSpec

GOLDEN = Path(__file__).parents[1] / "golden"
SUFFIXES = {"text": "txt", "markdown": "md", "latex": "tex", "html": "html", "csv": "csv"}
ROWS = [
    *(("fft", name) for name in ("ce", "gce", "elr")),
    *(("lp", name) for name in ("ce", "gce", "elr", "dividemix", "unicon")),
    ("lp-fft", "turn"),
]

# The [table] section of a grid for each table of the paper.
LAYOUTS: dict[str, dict[str, Any]] = {
    "table1": {
        "rows": ["metric"],
        "columns": ["method"],
        "groups": [],
        "metric": ["train_min", "cost_units", "cost"],
    },
    "table2": {"groups": ["backbone"], "groups_per_block": 2, "extra": []},
    "table3": {
        "rows": ["dataset", "backbone"],
        "columns": ["method"],
        "groups": ["tuning"],
        "extra": [],
    },
    "table4": {
        "rows": ["lp", "params.cleansing", "fft"],
        "columns": ["backbone"],
        "groups": ["dataset"],
        "metric": "last",
        "extra": [],
    },
    "table5": {"rows": ["backbone"], "columns": ["method"], "groups": ["tuning"], "extra": []},
    "table9": {
        "rows": ["noise", "metric"],
        "columns": ["params.tau"],
        "groups": ["backbone"],
        "metric": ["selected", "purity", "best / last"],
    },
}


def accuracies() -> Iterator[tuple[float, float]]:
    """Numbers that are all different, best before last."""
    return ((30.0 + (37 * k) % 60 + k / 100, 29.0 + (37 * k) % 60 - k / 100) for k in range(1000))


def records_of(name: str, seeds: int = 1) -> list[Record]:
    numbers = accuracies()

    def record(seed: int = 0, changes: dict[str, Any] | None = None, **spec: Any) -> Record:
        best, last = next(numbers)
        return make_record(make_spec(seed=seed, dataset="cifar100", **spec), best, last, **(changes or {}))

    if name == "table1":
        minutes = {"ce": 108.6, "gce": 110.7, "elr": 118.9, "elr_plus": 248.8, "dividemix": 574.1}
        return [
            record(method=method, changes={"times": {"train_s": 60 * value}, "ledger": passes(value)})
            for method, value in minutes.items()
        ]
    if name in ("table2", "table5"):
        noises = ["symmetric-0.6", "symmetric-0.9"] if name == "table2" else ["symmetric-0.9"]
        backbones = (
            ["vit_b16", "convnext_t", "msn_vit_b"] if name == "table2" else ["vit_l16", "clip_vit_l14"]
        )
        return [
            record(
                seed,
                backbone=backbone,
                tuning=tuning,
                method=method,
                noise=noise,
                phases=longer(backbone, tuning),
            )
            for backbone in backbones
            for tuning, method in ROWS
            for noise in noises
            for seed in range(seeds)
        ]
    if name == "table3":
        cells = [(dataset, *row) for dataset in ("clothing1m", "webvision_mini") for row in ROWS]
        made = [
            (dataset, record(tuning=tuning, method=method, noise="real", backbone=backbone))
            for dataset, tuning, method in cells
            for backbone in ("vit_b16", "resnet50")
        ]
        return [
            replace(item, spec=replace(item.spec, dataset=DatasetSpec(dataset))) for dataset, item in made
        ]
    if name == "table4":
        cases = [("fft", "multiple"), ("lp-fft", "none"), ("lp-fft", "once"), ("lp-fft", "multiple")]
        return [
            record(
                backbone=backbone,
                tuning=tuning,
                method="turn",
                params=(("cleansing", cleansing),),
                noise="symmetric-0.9",
            )
            for backbone in ("vit_b16", "clip_vit_b")
            for tuning, cleansing in cases
        ]
    return [
        record(
            seed,
            changes={"selection": {"size": 3500 + 10 * seed, "purity": 78.0 + 10 * tau, "recall": 1.0}},
            tuning="lp-fft",
            method="turn",
            backbone="vit_b16",
            params=(("tau", tau),),
            noise=noise,
        )
        for tau in (0.3, 0.6, 0.9)
        for noise in ("symmetric-0.9", "symmetric-0.6")
        for seed in range(seeds)
    ]


def longer(backbone: str, tuning: str) -> tuple[PhaseSpec, ...]:
    """The paper's exception for MSN: five times the epochs of fine-tuning."""
    factor = 5 if backbone == "msn_vit_b" else 1
    return tuple(
        replace(phase, epochs=phase.epochs * (factor if phase.kind == "fft" else 1))
        for phase in PHASES[tuning]
    )


def passes(count: float) -> dict[str, dict[str, int]]:
    names = ("backbone_forward", "backbone_forward_grad", "backbone_backward")
    return {"training": dict.fromkeys(names, round(100 * count)), "features": {"backbone_forward": 0}}


def table_of(name: str, seeds: int = 1) -> Table:
    records = records_of(name, seeds)
    plan = make_plan([record.spec for record in records], grid=f"paper_{name}")
    return build_table(build_frame({f"paper_{name}": plan}, records), LAYOUTS[name])


# Golden files


@pytest.mark.parametrize("form", SUFFIXES)
@pytest.mark.parametrize("name", LAYOUTS)
def test_golden(name: str, form: str) -> None:
    expected = (GOLDEN / f"{name}.{SUFFIXES[form]}").read_text(encoding="utf-8")
    assert render(table_of(name), form) == expected


def write_golden_files() -> None:
    for name in LAYOUTS:
        for form, suffix in SUFFIXES.items():
            (GOLDEN / f"{name}.{suffix}").write_text(render(table_of(name), form), encoding="utf-8")


# Arrangement


def test_pairs_of_groups_stand_in_blocks_one_below_the_other() -> None:
    table = table_of("table2")
    assert [[label for label, _ in block.spans] for block in table.blocks] == [
        ["ViT-B/16", "ConvNeXt-T"],
        ["MSN-ViT-B"],
    ]
    assert [len(block.columns) for block in table.blocks] == [4, 2]
    # No cell is lost or moved: the blocks side by side are the table.
    beside = [sum((block.cells[row] for block in table.blocks), ()) for row in range(len(table.rows))]
    assert beside == list(table.cells)


def test_the_best_is_that_of_a_row_where_methods_are_columns() -> None:
    table = table_of("table3")
    for row in table.cells:
        bests = [cell.values[0].summary.mean for cell in row if cell.values and cell.values[0].best]
        assert bests == [max(cell.values[0].summary.mean for cell in row if cell.values)]
    assert "The highest mean of each row is in bold." in table.caption


def test_the_best_of_a_sweep_is_one_of_its_values() -> None:
    table = table_of("table9")
    assert table.rows[2] == ("Symm. 0.9", "accuracy [%], best / last")
    marked = [[any(value.best for value in cell.values) for cell in row] for row in table.cells]
    assert [sum(row) for row in marked][:2] == [0, 0]  # sizes and purities are not compared
    assert sum(marked[2]) in (1, 2)


def test_numbers_have_the_precision_of_their_kind() -> None:
    text = render(table_of("table9", seeds=2), "text")
    selected, purity = (
        next(line for line in text.splitlines() if word in line) for word in ("selected", "purity")
    )
    assert selected.split()[-3:] == ["3,505", "±", "7"]
    assert purity.split()[-3:] == ["87.00", "±", "0.00"]


def test_a_phase_is_a_tick_and_its_absence_a_dash() -> None:
    table = table_of("table4")
    assert table.stub == ("LP", "cleansing", "FFT")
    assert table.rows == (
        ("–", "multiple", "✓"),
        ("✓", "none", "✓"),
        ("✓", "once", "✓"),
        ("✓", "multiple", "✓"),
    )
    # Ticks of several rows all stand, and none is taken for a repeated heading.
    assert render(table, "text").count("✓") == 7


def test_sweeps_of_budgets_have_cells_of_their_own() -> None:
    phases = [(PhaseSpec("lp", epochs), PhaseSpec("fft", 4)) for epochs in (1, 5)]
    records = [
        make_record(make_spec("turn", "lp-fft", phases=item), best)
        for item, best in zip(phases, (50.0, 60.0), strict=True)
    ]
    frame = build_frame({}, records)
    layout = {"rows": ["method"], "columns": ["lp.epochs"], "extra": []}
    table = build_table(frame, layout)
    assert [column.label for column in table.columns] == ["LP epochs = 1", "LP epochs = 5"]
    assert [cell.values[0].summary.mean for cell in table.cells[0]] == [50.0, 60.0]
    together = build_table(frame, layout | {"columns": ["noise"]})
    assert together.cells[0][0].values == ()
    assert "different settings" in together.footnotes[0]


def test_rows_with_a_common_beginning_stand_together() -> None:
    specs = [
        make_spec(method, noise=noise) for method in ("ce", "gce") for noise in ("none", "symmetric-0.6")
    ]
    frame = build_frame({}, [make_record(spec) for spec in specs])
    table = build_table(frame, {"rows": ["noise", "method"], "columns": ["backbone"], "extra": []})
    assert sorted(table.rows, key=lambda row: row[0]) == list(table.rows)
    assert [row[1] for row in table.rows] == ["CE", "GCE", "CE", "GCE"]


def test_several_metrics_are_columns_unless_they_are_rows() -> None:
    frame = build_frame({}, [make_record(make_spec("ce")), make_record(make_spec("gce"))])
    table = build_table(frame, {"metric": ["best / last", "train_min"], "extra": []})
    assert [(column.label, column.sublabel) for column in table.columns] == [
        ("Symm. 0.6", "best / last"),
        ("Symm. 0.6", "train [min]"),
    ]
    assert table.cells[0][1].values[0].summary.mean == 0.5


# Caption


def test_the_caption_states_budget_and_its_exceptions() -> None:
    text = " ".join(table_of("table2").caption)
    assert "Epochs: FFT 5 (25 for MSN-ViT-B); LP 20; LP-FFT 20 + 4 (20 + 20 for MSN-ViT-B)." in text
    assert text.startswith("CIFAR-100.")


def test_the_caption_states_batch_sizes_by_kind_of_phase_where_they_differ() -> None:
    phases = (PhaseSpec("lp", 20), PhaseSpec("fft", 4, batch_size=32))
    halved = (PhaseSpec("lp", 20, batch_size=64),)
    specs = [
        make_spec("turn", "lp-fft", phases=phases),
        make_spec("ce", "lp"),
        make_spec("unicon", "lp", phases=halved),
    ]
    text = " ".join(build_table(build_frame({}, [make_record(spec) for spec in specs])).caption)
    assert "Batch size: LP 128 (64 for UNICON); FFT 32." in text
    assert "Batch size: 128 (64 for UNICON)." in " ".join(
        build_table(build_frame({}, [make_record(spec) for spec in specs[1:]])).caption
    )


def captioned(*phases: tuple[str, str, tuple[PhaseSpec, ...]], plan: dict[str, Any] | None = None) -> str:
    records = [make_record(make_spec(method, tuning, phases=mine)) for method, tuning, mine in phases]
    return " ".join(build_table(build_frame({}, records), plan=plan).caption)


def test_the_caption_states_learning_rate_and_optimiser_of_each_kind_of_phase() -> None:
    probing = PhaseSpec("lp", 20, optimizer="adamw", lr=1e-3)
    tuned = PhaseSpec("fft", 5, lr=0.01, schedule="cosine")
    text = captioned(
        ("ce", "lp", (probing,)),
        ("elr", "lp", (probing,)),
        ("gce", "lp", (replace(probing, lr=0.01),)),
        ("ce", "fft", (tuned,)),
    )
    assert "Learning rate: LP AdamW 1e-3 (1e-2 for GCE); FFT SGD 1e-2, cosine." in text


def test_the_caption_states_of_an_optimiser_what_is_no_default() -> None:
    usual = PhaseSpec("fft", 5, lr=0.02, weight_decay=5e-4, momentum=0.8)
    text = captioned(("ce", "fft", (usual,)), ("gce", "fft", (replace(usual, optimizer="adamw"),)))
    # AdamW takes no momentum, so none is named.
    assert (
        "Learning rate: FFT SGD 2e-2, weight decay 5e-4, momentum 0.8 "
        "(AdamW 2e-2, weight decay 5e-4 for GCE)." in text
    )


def test_the_caption_states_the_range_of_many_learning_rates() -> None:
    rates = zip(("ce", "gce", "elr", "dividemix", "unicon"), (3e-2, 1e-3, 0.5, 3e-3, 1e-2), strict=True)
    rows = [(method, "lp", (PhaseSpec("lp", 20, lr=rate),)) for method, rate in rates]
    assert "Learning rate: LP SGD 1e-3 to 0.5." in captioned(*rows)


def test_sources_of_documents_hold_every_setting_of_every_phase() -> None:
    records = [make_record(make_spec(method, "lp")) for method in ("ce", "gce")]
    table = build_table(build_frame({}, records))
    settings = (
        "epochs = 20, batch_size = 128, optimizer = sgd, lr = 0.01, weight_decay = 0.0001, momentum = 0.9, "
        "schedule = constant, augmentation = none, batch_norm = update, cache = True (CE; GCE)"
    )
    assert table.details == (("LP", settings),)
    assert f"% LP: {settings}".replace("_", r"\_") in render(table, "latex")
    assert "weight" not in render(table, "text")


def halved(reasons: dict[str, dict[str, str]] | None = None, layout: dict[str, Any] | None = None) -> Table:
    """Four methods of linear probing, two of them with half the batch; DivideMix has two seeds of it."""
    half = (PhaseSpec("lp", 20, batch_size=64),)
    specs = [
        *(make_spec(method, "lp") for method in ("ce", "gce")),
        *(make_spec("dividemix", "lp", seed=seed, phases=half) for seed in (0, 1, 2)),
        make_spec("unicon", "lp", phases=half),
        make_spec("elr", "lp"),
        make_spec("ce", "fft"),
    ]
    plan = make_plan(specs)
    for trial in plan["trials"]:
        trial |= {"reasons": (reasons or {}).get(planned_spec(trial).method.name, {})}
    return build_table(build_frame({"mini": plan}, map(make_record, specs)), layout or {"extra": []}, plan)


def test_methods_with_settings_of_their_own_are_marked_and_a_note_says_what_differs() -> None:
    table = halved()
    assert [labels[-1] for labels in table.labels] == ["CE", "GCE", "DivideMix†", "UNICON†", "ELR", "CE"]
    assert [labels[-1] for labels in table.rows] == ["CE", "GCE", "DivideMix", "UNICON", "ELR", "CE"]
    assert table.mark_notes == ("† DivideMix, UNICON: LP batch size 64 (others 128)",)
    assert "DivideMix†" in render(table, "text")
    assert r"DivideMix\textdagger{}" in render(table, "latex")
    assert r"\textdagger{} DivideMix, UNICON: LP batch size 64 (others 128)\par" in render(table, "latex")
    assert "| DivideMix† |" in render(table, "markdown")
    assert '<th scope="row">DivideMix†</th>' in render(table, "html")
    assert "<p>† DivideMix, UNICON: LP batch size 64 (others 128)</p>" in render(table, "html")
    assert "†" not in render(table, "csv")  # which other programs read


def test_the_note_gives_the_grids_reason_for_what_differs() -> None:
    reasons = {
        "dividemix": {"lp.batch_size": "Two loaders.", "methods.dividemix.warmup": "Longer."},
        "unicon": {"lp.batch_size": "Big views."},
    }
    assert halved(reasons).mark_notes == (
        "† DivideMix: LP batch size 64 (others 128). Two loaders.",
        "‡ UNICON: LP batch size 64 (others 128). Big views.",
    )


def test_columns_of_methods_are_marked_as_well() -> None:
    table = halved(layout={"rows": ["noise"], "columns": ["method"], "groups": ["tuning"], "extra": []})
    assert [heading for block in table.blocks for heading, _ in block.headings] == [
        *("CE", "GCE", "DivideMix†", "UNICON†", "ELR", "CE")
    ]


def test_what_lies_on_an_axis_is_no_deviation() -> None:
    assert halved(layout={"rows": ["method", "lp.batch_size"], "extra": []}).mark_notes == ()


def test_a_deviation_on_some_backbones_names_them() -> None:
    specs = [
        make_spec(method, "lp", backbone=backbone, phases=(PhaseSpec("lp", 20, lr=rate),))
        for backbone in ("efficientnet_lite0", "vit_b16")
        for method in ("ce", "gce", "elr")
        for rate in [0.1 if (method, backbone) == ("elr", "vit_b16") else 0.01]
    ]
    table = build_table(build_frame({}, map(make_record, specs)))
    assert table.mark_notes == ("† ELR: LP learning rate 0.1 (others 1e-2) for ViT-B/16",)


def test_the_cost_of_fine_tuning_is_computed_where_it_was_not_run() -> None:
    record = make_record(make_spec("gce", "lp"), data={"fingerprint": "d" * 64, "train": 200})
    plan = make_plan([record.spec])
    plan["trials"][0]["reference_epochs"] = 5
    frame = build_frame({"mini": plan}, [record])
    # 100 forward, 1,000 both ways and 50 for features, against 3 x 200 x 5.
    assert frame["cost"].tolist() == [3150 / 3000]
    text = " ".join(build_table(frame, {"extra": ["cost"]}).caption)
    assert "Where CE with FFT was not run, its cost is computed: 3 × samples × epochs." in text
    assert "computed" not in " ".join(build_table(frame, {"extra": []}).caption)
    measured = make_record(make_spec("ce", "fft"))
    both = build_frame({"mini": {**plan, **make_plan([record.spec, measured.spec])}}, [record, measured])
    assert both["cost_reference"].tolist() == ["measured", "measured"]
    assert both["cost"].tolist() == [1.0, 1.0]


def test_the_caption_names_the_hyperparameter_file() -> None:
    source = {"hyperparameters": {"name": "ours", "sha256": "0123456789abcdef", "without": []}}
    row = ("ce", "lp", (PhaseSpec("lp", 20),))
    assert "Hyperparameters: ours (sha256 01234567)." in captioned(row, plan={"source": source})
    assert "Hyperparameters" not in captioned(row, plan={"source": {}})


def test_the_caption_states_what_is_not_on_an_axis() -> None:
    assert table_of("table5").caption[0] == "CIFAR-100, Symm. 0.9."


def test_the_caption_states_subsets_sizes_and_starts() -> None:
    spec = replace(
        make_spec(noise="symmetric-0.6"),
        dataset=DatasetSpec("cifar10", train_per_class=100),
        backbone=BackboneSpec("resnet34_cifar", weights="none", image_size=32),
    )
    other = replace(spec, backbone=BackboneSpec("vit_b16"))
    noise = replace(spec.noise, options=(("variant", "exclusive"),))
    text = " ".join(build_table(build_frame({}, [make_record(spec), make_record(other)])).caption)
    assert "The first training images of each class only: 100." in text
    assert "Image size: 32 px (the model's own for ViT-B/16)." in text
    assert "Backbones start from scratch (from pre-trained weights for ViT-B/16)." in text
    assert "recipe" not in text
    crops = replace(spec, dataset=replace(spec.dataset, recipe="crop-flip"))
    assert "Augmentation recipe: crop-flip." in build_table(build_frame({}, [make_record(crops)])).caption
    exclusive = build_table(build_frame({}, [make_record(replace(spec, noise=noise))]))
    assert "Symm. noise: variant = exclusive." in exclusive.caption


# Layouts


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"rows": ["lp.epoch"]}, "Did you mean 'epochs'"),
        ({"rows": ["params.tua"]}, "Did you mean 'tau'"),
        ({"rows": ["metric"], "extra": ["train_s"]}, "no extra columns"),
        ({"groups": ["metric"]}, "not in groups"),
        ({"metric": []}, "needs a metric"),
        ({"metric": ["best", "purty"]}, "Did you mean 'purity'"),
        ({"groups_per_block": 0}, "integer from 1"),
        ({"groups_per_block": "2"}, "integer from 1"),
        ({"rows": 3}, "must list names"),
    ],
)
def test_wrong_layouts_are_errors(layout: dict[str, Any], message: str) -> None:
    frame = build_frame({}, [make_record(make_spec("turn", "lp-fft", params=(("tau", 0.6),)))])
    with pytest.raises(UsageError, match=message):
        build_table(frame, layout)


def test_a_parameter_of_methods_that_are_not_shown_is_no_column() -> None:
    """As when a grid whose table has it is run for one method."""
    frame = build_frame({}, [make_record(make_spec("ce", "lp"))])
    layout = {"rows": ["tuning", "method", "params.detector"], "columns": ["noise"], "extra": []}
    table = build_table(frame, layout)
    assert table.stub == ("Tuning", "Method")
    assert table == build_table(frame, layout | {"rows": ["tuning", "method"]})
    # Rows have to be told apart by something.
    assert build_table(frame, layout | {"rows": ["params.detector"]}).rows == (("",),)


# Documents


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_a_document_with_all_tables_compiles_and_nothing_sticks_out(tmp_path: Path) -> None:
    tables = [render(table_of(name, seeds), "latex") for name in LAYOUTS for seeds in (1, 3)]
    (tmp_path / "all.tex").write_text(latex_document(tables))
    call = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "all.log").read_text(errors="replace")
    assert not re.findall(r"^Overfull \\hbox.*", log, re.MULTILINE)
    assert "Output written on all.pdf" in log


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_a_table_needs_no_package_but_booktabs(tmp_path: Path) -> None:
    body = render(table_of("table4"), "latex")
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "one.tex").write_text(document)
    call = ["pdflatex", "-halt-on-error", "one.tex"]
    subprocess.run(call, cwd=tmp_path, check=True, capture_output=True)


class Structure(HTMLParser):
    """Checks that tags are balanced, and counts the columns of every row, spans included."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.widths: list[int] = []
        self.hanging = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        values = dict(attrs)
        if tag == "tbody":
            self.hanging = 0
        if tag == "tr":
            self.widths.append(1 if self.hanging > 0 else 0)
            self.hanging -= 1
        if tag in ("td", "th"):
            self.widths[-1] += int(values.get("colspan") or 1)
            self.hanging = max(self.hanging, int(values.get("rowspan") or 1) - 1)
        assert tag != "th" or values["scope"] in ("col", "colgroup", "row", "rowgroup")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", LAYOUTS)
def test_html_is_well_formed_and_its_rows_are_equally_wide(name: str) -> None:
    table = table_of(name)
    structure = Structure()
    structure.feed(render_document(table, "html", "A <title>"))
    assert structure.open == []
    widths = {len(table.stub) + len(block.columns) for block in table.blocks}
    assert set(structure.widths) == widths


def test_a_page_needs_no_other_file() -> None:
    page = render_document(table_of("table4"), "html", "A <title>")
    assert "<title>A &lt;title&gt;</title>" in page
    assert not re.search(r"<(?:script|link|img)|https?:|url\(", page)
    assert page.count("<strong>") == 2
    assert 'aria-label="yes">✓' in page


@pytest.mark.parametrize("form", [form for form in RENDERERS if form not in ("latex", "html")])
def test_other_formats_have_no_documents(form: str) -> None:
    with pytest.raises(UsageError, match="--standalone"):
        render_document(table_of("table4"), form, "")


if __name__ == "__main__":
    write_golden_files()
