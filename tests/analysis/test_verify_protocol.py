"""Which settings make a run another experiment than the paper's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from results_factory import make_spec

from lnlbench.analysis.paper.differences import Pair, differences, settings_of
from lnlbench.spec import BackboneSpec, DatasetSpec, MethodSpec, NoiseSpec, TrialSpec

SIZES = {"digits": {"train": 1_000, "test": 100}}
PAPER = make_spec("turn", "lp-fft", params=(("tau", 0.6),))


def changed(spec: TrialSpec, **phase: object) -> TrialSpec:
    return replace(spec, phases=(spec.phases[0], replace(spec.phases[1], **phase)))


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (replace(PAPER, dataset=DatasetSpec("cifar10")), "dataset: cifar10, in the paper digits"),
        (
            replace(PAPER, dataset=DatasetSpec("digits", train_per_class=50)),
            "dataset_options.train_per_class: 50, in the paper unset",
        ),
        (
            replace(PAPER, dataset=DatasetSpec("digits", validation_labels="clean")),
            "dataset_options.validation_labels: clean, in the paper noisy",
        ),
        (
            replace(PAPER, noise=NoiseSpec.parse("symmetric-0.9")),
            "noise: symmetric-0.9, in the paper symmetric-0.6",
        ),
        (
            replace(PAPER, noise=NoiseSpec.parse("symmetric-0.6", (("variant", "exclusive"),))),
            "noise_options.symmetric.variant: exclusive, in the paper unset",
        ),
        (
            replace(PAPER, backbone=BackboneSpec("resnet50")),
            "backbone: resnet50, in the paper efficientnet_lite0",
        ),
        (
            replace(PAPER, backbone=BackboneSpec("efficientnet_lite0", image_size=48)),
            "backbone_options.image_size: 48, in the paper unset",
        ),
        (
            replace(PAPER, backbone=BackboneSpec("efficientnet_lite0", options=(("patch", 32),))),
            "backbone_options.patch: 32, in the paper unset",
        ),
        (changed(PAPER, epochs=1), "fft.epochs: 1, in the paper 4"),
        (changed(PAPER, batch_size=32), "fft.batch_size: 32, in the paper 128"),
        (changed(PAPER, optimizer="adamw"), "fft.optimizer: adamw, in the paper sgd"),
        (changed(PAPER, lr=1e-4), "fft.lr: 0.0001, in the paper 0.01"),
        (changed(PAPER, weight_decay=0.0), "fft.weight_decay: 0, in the paper 0.0001"),
        (changed(PAPER, schedule="cosine"), "fft.schedule: cosine, in the paper constant"),
        (
            replace(PAPER, method=MethodSpec("turn", (("tau", 0.7),))),
            "methods.turn.tau: 0.7, in the paper 0.6",
        ),
    ],
)
def test_every_deviation_is_named_with_both_values(spec: TrialSpec, sentence: str) -> None:
    (found,) = differences([Pair(spec, PAPER, {})], {})
    assert str(found) == sentence
    assert found.trials == 1


@pytest.mark.parametrize(
    "spec",
    [
        replace(PAPER, seed=7),
        replace(PAPER, precision="bf16"),
        replace(PAPER, backbone=BackboneSpec("efficientnet_lite0", revision="abc")),
        replace(PAPER, method=replace(PAPER.method, preset="another name")),
    ],
)
def test_what_the_paper_does_not_state_is_no_difference(spec: TrialSpec) -> None:
    assert differences([Pair(spec, PAPER, {})], {}) == ()


def test_values_are_collected_over_trials() -> None:
    pairs = [Pair(changed(PAPER, epochs=epochs), changed(PAPER, epochs=paper), {}) for epochs, paper in
             ((1, 5), (2, 4), (1, 4), (4, 4))]  # fmt: skip
    (found,) = differences(pairs, {})
    assert (found.measured, found.paper, found.trials) == (("1", "2"), ("5", "4"), 2)


def test_long_lists_are_cut() -> None:
    pairs = [Pair(changed(PAPER, epochs=epochs), PAPER, {}) for epochs in range(10, 20)]
    (found,) = differences(pairs, {})
    assert str(found) == "fft.epochs: 10, 11, 12, 13, 14, 15 and 4 more, in the paper 4"


def test_other_data_under_the_same_name_are_noticed() -> None:
    (found,) = differences([Pair(PAPER, PAPER, {"train": 40, "test": 104})], SIZES)
    assert str(found) == "data.train: 40, in the paper 1000"


def test_sizes_of_another_data_set_are_not_compared() -> None:
    other = replace(PAPER, dataset=DatasetSpec("cifar10"))
    (found,) = differences([Pair(other, PAPER, {"train": 40})], SIZES)
    assert found.key == "dataset"


def test_the_folder_of_a_data_set_is_no_difference() -> None:
    here, there = (
        replace(PAPER, dataset=DatasetSpec(f"npz:{folder}/pets.npz")) for folder in ("/here", "/there")
    )
    assert settings_of(here) == settings_of(there)
