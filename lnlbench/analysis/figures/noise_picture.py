"""A picture of noise: what each class is called, and how many of its labels are wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lnlbench.analysis.figures.figure_page import COLOURS, house_style, open_page
from lnlbench.analysis.names import clean
from lnlbench.noise.realised import NoiseReport

_NAMED = 25  # classes whose names have room beside a row


def draw_noise(title: str, report: NoiseReport, names: Sequence[str]) -> Figure:
    """Draw the flows between classes as shares of each, and the share that is wrong beside them.

    Parameters
    ----------
    title : str
    report : NoiseReport
        With known true labels.
    names : sequence of str
        Of the C classes.
    """
    counts = np.array(report.transitions, dtype=np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, np.nan)  # what stays right would hide what does not
    with house_style():
        figure, page = open_page((7.0, 4.2), [])
        flows, bars = page.subplots(1, 2, width_ratios=[3, 1], sharey=True)
        largest = float(np.nanmax(shares)) if len(names) > 1 else 0.0
        image = flows.imshow(shares, cmap="Blues", vmin=0.0, vmax=max(largest, 1e-9), aspect="auto")
        flows.set(xlabel="given label", ylabel="true class", title=clean(title))
        flows.grid(visible=False)
        page.colorbar(image, ax=flows, label="share of the class")
        bars.barh(range(len(names)), 100 * np.array(report.per_class), color=COLOURS[0])
        bars.set(xlabel="wrong labels [%]", xlim=(0, 100))
        if len(names) <= _NAMED:
            shown = [clean(name) for name in names]
            flows.set_yticks(range(len(names)), shown)
            flows.set_xticks(range(len(names)), shown, rotation=90)
        return figure
