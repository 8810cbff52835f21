"""Figures: what they show, how they treat what is missing, and the files that they become."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure, FigureBase
from PIL import Image
from results_factory import make_failure, make_plan, make_record, make_spec

from lnlbench.analysis.figure_layout import FigureLayout
from lnlbench.analysis.figures.figure_data import build_chart
from lnlbench.analysis.figures.figure_page import CLASS_COLOURS, COLOURS, FORMATS, look, save_figure
from lnlbench.analysis.figures.figures import make_figure
from lnlbench.errors import NothingSelectedError, UsageError
from lnlbench.records.frame import build_frame
from lnlbench.records.record import Record
from lnlbench.spec import PhaseSpec, TrialSpec

SCATTER = {"kind": "scatter", "x": ["train_s", "cost"], "y": "last"}
TAU = {"kind": "lines", "x": "params.tau", "y": "last", "series": ["noise"]}


def frame_of(records: list[Record], planned: list[TrialSpec] | None = None) -> pd.DataFrame:
    specs = planned or [record.spec for record in records]
    return build_frame({"mini": make_plan(specs)}, records)


def ledger(units: int) -> dict[str, dict[str, int]]:
    """Passes that cost some units."""
    counts = {"backbone_forward": units, "backbone_forward_grad": 0, "backbone_backward": 0}
    return {"training": counts, "features": {"backbone_forward": 0}}


@pytest.fixture(scope="module")
def costs() -> pd.DataFrame:
    """CE, FFT: 100 and 110 s, 50 and 54 %, 3,000 units; GCE, LP: 2 s, 70 %, 300 units."""
    return frame_of(
        [
            make_record(
                make_spec("ce", "fft", seed=0), 0, 50.0, times={"train_s": 100.0}, ledger=ledger(3000)
            ),
            make_record(
                make_spec("ce", "fft", seed=1), 0, 54.0, times={"train_s": 110.0}, ledger=ledger(3000)
            ),
            make_record(make_spec("gce", "lp"), 0, 70.0, times={"train_s": 2.0}, ledger=ledger(300)),
        ]
    )


def sweep(taus: tuple[float, ...] = (0.9, 0.3, 0.6), noises: tuple[str, ...] = ("none",)) -> list[Record]:
    return [
        make_record(
            make_spec("turn", "lp-fft", noise, seed, params=(("tau", tau),)), 0, 10 * tau + 2 * seed + number
        )
        for tau in taus
        for number, noise in enumerate(noises)
        for seed in (0, 1)
    ]


def panels_of(figure: FigureBase) -> list[Axes]:
    return [*figure.axes]


def lines_of(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Return what is drawn as markers, by label."""
    return {
        str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata()))  # type: ignore[arg-type]
        for line in axes.lines
        if not str(line.get_label()).startswith("_")
    }


def bars_of(axes: Axes) -> list[float]:
    """Return half the heights of all vertical error bars."""
    segments = [
        segment
        for collection in axes.collections
        if isinstance(collection, LineCollection)
        for segment in collection.get_segments()
    ]
    vertical = [segment for segment in segments if segment[0][0] == segment[1][0]]
    return sorted(abs(float(top - bottom)) / 2 for (_, bottom), (_, top) in vertical if not np.isnan(top))


def legends_of(figure: Figure) -> list[str]:
    parts: list[FigureBase] = [figure, *figure.subfigs]
    return [text.get_text() for part in parts for legend in part.legends for text in legend.get_texts()]


def texts_of(figure: Figure) -> str:
    parts: list[FigureBase] = [figure, *figure.subfigs]
    return "\n".join(text.get_text() for part in parts for text in part.texts)


# Points


def test_a_scatter_has_a_panel_per_cost_and_a_point_per_method(costs: pd.DataFrame) -> None:
    figure, story = make_figure(costs, SCATTER)
    time, compute = panels_of(figure)
    assert (time.get_xlabel(), compute.get_xlabel()) == (
        "training time [s]",
        "compute, relative to CE with FFT",
    )
    assert time.get_ylabel() == "test accuracy, last [%]"
    assert lines_of(time) == {"FFT CE": ([105.0], [52.0]), "LP GCE": ([2.0], [70.0])}
    assert lines_of(compute) == {"FFT CE": ([1.0], [52.0]), "LP GCE": ([0.1], [70.0])}
    assert legends_of(figure) == ["FFT CE", "LP GCE"]
    assert story.complete
    assert story.notes == ()


def test_error_bars_are_sample_deviations_and_only_where_there_are_seeds(costs: pd.DataFrame) -> None:
    figure, _ = make_figure(costs, SCATTER)
    assert bars_of(panels_of(figure)[0]) == [pytest.approx(8**0.5)]  # of 50 and 54


def test_costs_that_span_orders_are_drawn_to_scale_of_ratios(costs: pd.DataFrame) -> None:
    figure, _ = make_figure(costs, SCATTER)
    assert [axes.get_xscale() for axes in panels_of(figure)] == ["log", "log"]
    alike = costs[costs["method"] == "ce"]
    figure, _ = make_figure(alike, SCATTER)
    assert [axes.get_xscale() for axes in panels_of(figure)] == ["linear", "linear"]


def test_a_method_has_its_colour_in_every_tuning_mode() -> None:
    rows = [("fft", "ce"), ("fft", "gce"), ("lp", "gce"), ("lp", "ce")]
    figure, _ = make_figure(frame_of([make_record(make_spec(m, t)) for t, m in rows]), SCATTER)
    style = {
        str(line.get_label()): (line.get_color(), line.get_marker())
        for line in panels_of(figure)[0].lines
        if not str(line.get_label()).startswith("_")
    }
    assert style["FFT CE"][0] == style["LP CE"][0] != style["FFT GCE"][0] == style["LP GCE"][0]
    assert style["FFT CE"][1] == style["FFT GCE"][1] != style["LP CE"][1] == style["LP GCE"][1]


def test_colours_never_stand_alone() -> None:
    assert len({look(number) for number in range(4 * len(COLOURS))}) == 4 * len(COLOURS)
    assert len({look(number)[1] for number in range(len(COLOURS))}) == len(COLOURS)


# Lines


def test_lines_run_along_a_parameter_in_rising_order() -> None:
    figure, _ = make_figure(frame_of(sweep(noises=("none", "symmetric-0.6"))), TAU)
    (axes,) = panels_of(figure)
    assert axes.get_xlabel() == "τ"
    assert lines_of(axes) == {
        "No noise": ([0.3, 0.6, 0.9], [4.0, 7.0, 10.0]),
        "Symm. 0.6": ([0.3, 0.6, 0.9], [5.0, 8.0, 11.0]),
    }
    assert bars_of(axes) == [pytest.approx(2**0.5)] * 6


def test_several_accuracies_share_an_axis_as_series_of_their_own() -> None:
    frame = frame_of([make_record(make_spec("turn", params=(("tau", 0.6),)), 80.0, 70.0)])
    figure, story = make_figure(frame, TAU | {"y": ["best", "last"]})
    (axes,) = panels_of(figure)
    assert axes.get_ylabel() == "test accuracy [%]"
    assert lines_of(axes) == {"best Symm. 0.6": ([0.6], [80.0]), "last Symm. 0.6": ([0.6], [70.0])}
    assert "best: at the epoch" in " ".join(story.caption)


def test_lines_run_along_the_epochs_of_a_phase() -> None:
    records = [
        make_record(
            make_spec("turn", "lp-fft", phases=(PhaseSpec("lp", epochs), PhaseSpec("fft", 4))),
            0,
            2.0 * epochs,
        )
        for epochs in (1, 10)
    ]
    figure, _ = make_figure(frame_of(records), {"kind": "lines", "x": "lp.epochs", "y": "last"})
    (axes,) = panels_of(figure)
    assert axes.get_xlabel() == "LP epochs"
    assert lines_of(axes) == {"Symm. 0.6": ([1.0, 10.0], [2.0, 20.0])}


def test_there_are_no_ticks_at_half_epochs() -> None:
    phases = [(PhaseSpec("lp", epochs), PhaseSpec("fft", 4)) for epochs in (1, 2)]
    records = [make_record(make_spec("turn", "lp-fft", phases=each), 0, 50.0) for each in phases]
    figure, _ = make_figure(frame_of(records), {"kind": "lines", "x": "lp.epochs", "y": "last"})
    (axes,) = panels_of(figure)
    assert lines_of(axes)
    figure.set_size_inches(30, 5)  # with room for many ticks
    assert [tick for tick in axes.get_xticks() if not float(tick).is_integer()] == []


def test_panels_share_their_scale_and_have_titles() -> None:
    records = [
        make_record(make_spec("turn", backbone=name, params=(("tau", 0.6),))) for name in ("vit_b16", "x")
    ]
    figure, _ = make_figure(frame_of(records), TAU | {"panels": ["backbone"]})
    assert [axes.get_title() for axes in panels_of(figure)] == ["ViT-B/16", "x"]
    assert len({axes.get_ylim() for axes in panels_of(figure)}) == 1


def test_what_has_no_number_along_x_is_an_error() -> None:
    records = [*sweep(), make_record(make_spec("ce"))]
    with pytest.raises(UsageError, match=r"FFT CE has no params\.tau.*--where"):
        make_figure(frame_of(records), TAU)


# What is missing


def test_what_is_missing_is_named_in_the_figure() -> None:
    specs = [make_spec(name) for name in ("ce", "gce", "elr")]
    records = [make_record(specs[0]), make_failure(specs[1])]
    figure, story = make_figure(frame_of(records, specs), SCATTER)
    assert not story.complete
    assert story.notes == ("failed: TrialError: The loss is not finite. (FFT GCE)", "pending (FFT ELR)")
    assert all(note in texts_of(figure) for note in story.notes)
    assert legends_of(figure) == ["FFT CE"]


def test_a_figure_without_results_says_so() -> None:
    figure, story = make_figure(frame_of([], [make_spec()]), SCATTER)
    assert "There are no results to show." in story.caption
    assert "pending (FFT CE)" in texts_of(figure)


def test_trials_with_different_settings_are_not_averaged() -> None:
    figure, story = make_figure(frame_of(sweep()), SCATTER)
    assert lines_of(panels_of(figure)[0]) == {}
    assert "different settings" in story.notes[0]
    assert not story.complete


def test_long_notes_are_cut_in_the_figure_and_not_in_the_story() -> None:
    specs = [make_spec(f"method{number}") for number in range(300)]
    figure, story = make_figure(frame_of([], specs), SCATTER)
    assert "more lines of notes" in texts_of(figure)
    assert "method299" in story.notes[0]
    width, height = figure.get_size_inches()
    assert height < 4 * width


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(NothingSelectedError):
        make_figure(build_frame({}, []), SCATTER)


# Caption


def test_the_caption_says_what_tables_say(costs: pd.DataFrame) -> None:
    _, story = make_figure(costs, SCATTER | {"caption": "Costs"})
    text = " ".join(story.caption)
    assert text.startswith("Costs. digits, Symm. 0.6, EfficientNet-Lite0. Epochs: FFT 5; LP 20.")
    assert "n = 1 to 2 seeds" in text
    assert "last: after the last epoch" in text
    assert "relative to CE with FFT" in text
    assert dict(story.provenance)["records"] == "3"


# Layouts


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({}, "has no kind"),
        ({"kind": "scater"}, "Did you mean 'scatter'"),
        ({"kind": "scatter", "colour": "red"}, "Unknown key 'colour'"),
        ({"kind": "scatter", "x": "trian_s"}, "Did you mean 'train_s'"),
        ({"kind": "scatter", "x": []}, "needs x"),
        ({"kind": "scatter", "y": ["best", "purity"]}, "best and purity cannot share an axis"),
        ({"kind": "scatter", "y": []}, "needs y"),
        ({"kind": "scatter", "y": 3}, "must list names"),
        ({"kind": "scatter", "y": "method"}, "number 'y' of a figure"),
        ({"kind": "lines"}, "needs x"),
        ({"kind": "lines", "x": "lp.epoch"}, "Did you mean 'epochs'"),
        ({"kind": "lines", "x": "params.tua"}, "Did you mean 'tau'"),
        ({"kind": "lines", "x": "params.tau", "series": ["nois"]}, "Did you mean 'noise'"),
        ({"kind": "lines", "x": "params.tau", "series": 3}, "must list names"),
        ({"kind": "embedding", "x": "train_s"}, "has no x"),
    ],
)
def test_wrong_layouts_are_errors(layout: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_figure(frame_of(sweep()), layout)


# Maps


@pytest.fixture
def maps() -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    records = [
        make_record(make_spec(noise=noise, backbone=backbone))
        for backbone in ("vit_b16", "convnext_t")
        for noise in ("symmetric-0.1", "symmetric-0.9")
    ]
    value = {
        "labels": [0, 0, 1],
        "classes": ["cat", "dog"],
        "before": [[0, 0], [1, 0], [2, 2]],
        "after": [[5, 5], [6, 5], [9, 9]],
    }
    return frame_of(records), {record.trial_id: value for record in records}


def test_maps_stand_in_rows_by_noise_and_columns_by_backbone(
    maps: tuple[pd.DataFrame, dict[str, dict[str, Any]]],
) -> None:
    figure, story = make_figure(maps[0], {"kind": "embedding"}, maps[1])
    grid = np.array(panels_of(figure)).reshape(3, 2)
    assert [axes.get_ylabel() for axes in grid[:, 0]] == [
        "before training",
        "after, Symm. 0.1",
        "after, Symm. 0.9",
    ]
    assert [axes.get_title() for axes in grid[0]] == ["ViT-B/16", "ConvNeXt-T"]
    before, after = (
        np.vstack([collection.get_offsets() for collection in axes.collections]).tolist()  # type: ignore[attr-defined]
        for axes in (grid[0, 0], grid[2, 1])
    )
    assert before == [[0, 0], [1, 0], [2, 2]]
    assert after == [[5, 5], [6, 5], [9, 9]]
    assert legends_of(figure) == ["cat", "dog"]
    assert story.complete


def test_a_missing_map_leaves_its_panel_empty_and_is_named(
    maps: tuple[pd.DataFrame, dict[str, dict[str, Any]]],
) -> None:
    frame, embeddings = maps
    del embeddings[frame["trial_id"].iloc[3]]
    figure, story = make_figure(frame, {"kind": "embedding"}, embeddings)
    grid = np.array(panels_of(figure)).reshape(3, 2)
    assert grid[2, 1].texts[0].get_text() == "no result"
    assert grid[0, 1].collections  # the other noise brings the map before training
    assert not story.complete
    (note,) = story.notes
    assert "embedding.samples" in note
    assert "ConvNeXt-T, Symm. 0.9" in note


def test_features_that_collapsed_are_said_to_be_one_point(
    maps: tuple[pd.DataFrame, dict[str, dict[str, Any]]],
) -> None:
    frame, embeddings = maps
    embeddings = {key: value | {"after": [[0, 0]] * 3} for key, value in embeddings.items()}
    figure, _ = make_figure(frame, {"kind": "embedding"}, embeddings)
    shown = [[text.get_text() for text in axes.texts] for axes in panels_of(figure)]
    assert shown == [[], [], *[["all in one point"]] * 4]


def test_many_classes_are_colours_of_a_cycle_and_the_caption_says_so(
    maps: tuple[pd.DataFrame, dict[str, dict[str, Any]]],
) -> None:
    frame, embeddings = maps
    many = [str(number) for number in range(len(CLASS_COLOURS) + 1)]
    figure, story = make_figure(
        frame, {"kind": "embedding"}, {key: value | {"classes": many} for key, value in embeddings.items()}
    )
    assert legends_of(figure) == []
    assert any("11 classes in order" in sentence for sentence in story.caption)


# Files


@pytest.fixture(autouse=True)
def own_settings() -> Iterator[None]:
    """Settings of a user, which must not change a figure."""
    with mpl.rc_context(
        {"text.usetex": True, "savefig.transparent": True, "font.size": 30, "pdf.fonttype": 3}
    ):
        yield


@pytest.mark.parametrize("form", FORMATS)
def test_files_are_the_same_every_time(costs: pd.DataFrame, form: str) -> None:
    one, other = (save_figure(figure, form, "A title", story) for figure, story in _twice(costs))
    assert one == other


def _twice(frame: pd.DataFrame) -> Iterator[tuple[Figure, Any]]:
    yield make_figure(frame, SCATTER)
    yield make_figure(frame, SCATTER)


def test_a_pdf_embeds_its_fonts_and_says_where_it_comes_from(costs: pd.DataFrame) -> None:
    content = save_figure(*_drawn(costs, "pdf"))
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")
    assert b"/CIDFontType2" in content  # TrueType
    assert b"/Type3" not in content
    assert b"/CreationDate" not in content
    assert b"(A title)" in content
    assert b"grid: mini" in content


def test_an_svg_is_xml_without_time_or_foreign_fonts(costs: pd.DataFrame) -> None:
    root = ElementTree.fromstring(save_figure(*_drawn(costs, "svg")))
    texts = "".join(root.itertext())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "grid: mini" in texts
    assert not re.search(r"\d\d:\d\d:\d\d", texts)
    assert not root.findall(".//{http://www.w3.org/2000/svg}text")  # all letters are outlines


def test_a_png_is_large_enough_to_print(costs: pd.DataFrame) -> None:
    image = Image.open(io.BytesIO(save_figure(*_drawn(costs, "png"))))
    assert image.size[0] > 1500
    assert image.text["Title"] == "A title"  # type: ignore[attr-defined]
    corner = image.convert("RGBA").getpixel((0, 0))
    assert corner == (255, 255, 255, 255)


def _drawn(frame: pd.DataFrame, form: str) -> tuple[Figure, str, str, Any]:
    figure, story = make_figure(frame, SCATTER)
    return figure, form, "A title", story


def test_another_format_is_an_error(costs: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match="cannot be written as 'jpeg'"):
        save_figure(*_drawn(costs, "jpeg"))


EVIL = [r"\input{x}", "$a$ and $b$", r"$\frac{1}{0", "<script>alert(1)</script>", "]]>--><x&", "é\x1b[2J"]


@pytest.mark.parametrize("form", FORMATS)
def test_names_are_text_and_nothing_else(form: str) -> None:
    records = [make_record(make_spec(name, dataset=name), best=50.0) for name in EVIL]
    layout = SCATTER | {"panels": ["dataset"], "caption": EVIL[3]}
    figure, story = make_figure(frame_of(records), layout)
    assert [axes.get_title() for axes in panels_of(figure)][::2][1] == "$a$ and $b$"
    content = save_figure(figure, form, EVIL[3], story)
    if form == "svg":
        root = ElementTree.fromstring(content)
        assert not [item for item in root.iter() if isinstance(item.tag, str) and item.tag.endswith("script")]


# Data


def test_points_of_a_chart_carry_their_number_of_seeds() -> None:
    (((panel,),), _) = build_chart(frame_of(sweep()), FigureLayout.parse(TAU))
    (series,) = panel.series
    assert [(point.x.mean, point.y.n) for point in series.points] == [(0.3, 2), (0.6, 2), (0.9, 2)]
