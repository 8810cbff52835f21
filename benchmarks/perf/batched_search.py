"""A search over the paper's Table 7: configurations that are trained together beside one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lnlbench.records.record import Status
from lnlbench.records.store import Store
from lnlbench.running.job import make_job
from lnlbench.search.design import base_plan, make_searches
from lnlbench.search.search_run import SearchRun
from lnlbench.search.space import PAPER_SPACE, Space

from .measure import Line, interleave, seconds

AIM = 1 / 5

GRID = """
schema = 1
title = "Features like those of a network"
seeds = [0]
dataset = "features:{path}"
backbone = "efficientnet_lite0"
noise = "symmetric-0.6"
[[rows]]
tuning = "lp"
method = "ce"
[lp]
epochs = {epochs}
"""


@dataclass(frozen=True, slots=True)
class SearchSizes:
    """Sizes of the data and of the search; 5 % of the training samples are held out."""

    train_per_class: int
    test_per_class: int
    dim: int
    epochs: int
    space: Mapping[str, tuple[Any, ...]]
    classes: int = 10


# The subset of CIFAR-10 of the grid cifar10_cpu, on EfficientNet-Lite0.
FULL = SearchSizes(train_per_class=1000, test_per_class=200, dim=1280, epochs=20, space=PAPER_SPACE)
QUICK = SearchSizes(
    train_per_class=20,
    test_per_class=4,
    dim=16,
    epochs=2,
    space={"lr": (0.01, 0.001), "optimizer": ("sgd", "adamw"), "batch_size": (32,)},
)


def run(threads: int, quick: bool) -> Iterator[Line]:
    """Measure; yield one line, of one round."""
    sizes = QUICK if quick else FULL
    with TemporaryDirectory() as name:
        folder = Path(name)
        save_features(folder / "features", sizes)
        grid = folder / "grid.toml"
        grid.write_text(GRID.format(path=folder / "features", epochs=sizes.epochs))
        space = Space("lp", sizes.space)
        base = base_plan(str(grid), space)
        searches = make_searches(base, space)
        numbers = count()

        def search(*, batched: bool) -> float:
            out = folder / str(next(numbers))
            job = make_job(
                out,
                cache=folder / "cache",
                executor="inline",
                cpus_per_trial=threads,
                gpus_per_trial=0,
                batched=batched,
            )
            taken = seconds(lambda: SearchRun(base, searches, out, "best_validation").run(job))
            done = sum(record.status is Status.DONE for record in Store.open(out).records())
            if not done:
                raise RuntimeError("No configuration was trained to the end.")
            return taken

        times = interleave(
            {"batched": lambda: search(batched=True), "separate": lambda: search(batched=False)},
            1,
            warm_up=False,
        )
    yield Line(
        "batched",
        f"a search of {space.size} configurations, trained together / one after the other",
        f"CE on {sizes.classes * sizes.train_per_class:,} made-up features, d = {sizes.dim}, "
        f"C = {sizes.classes}, {sizes.epochs} epochs; in this process, records and checkpoints included",
        {name: times.median(name) for name in times.values},
        times.ratios("batched", "separate"),
        aim=AIM,
    )


def save_features(folder: Path, sizes: SearchSizes) -> None:
    """Save features that are not negative, as those after a last activation, around a mean for each class."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    means = generator.normal(size=(sizes.classes, sizes.dim))
    for part, per_class in (("train", sizes.train_per_class), ("test", sizes.test_per_class)):
        labels = np.repeat(np.arange(sizes.classes), per_class)
        noise = generator.normal(size=(len(labels), sizes.dim))
        features = np.maximum(0.0, 0.3 * means[labels] + noise)
        np.save(folder / f"x_{part}.npy", features.astype(np.float32))
        np.save(folder / f"y_{part}.npy", labels)
