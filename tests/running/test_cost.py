"""Expected costs against the formulas of the protocol, section 6, and against a counted trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from lnlbench.api import Method
from lnlbench.basics.facts import units_of
from lnlbench.plugins import registry
from lnlbench.running.cost import (
    SUSTAINED,
    Sizes,
    assumed_share,
    depends_on_share,
    expected_extraction,
    expected_units,
    gpu_hours,
    sizes_of,
)
from lnlbench.spec import BackboneSpec, DatasetSpec, NoiseSpec, PhaseSpec, TrialSpec
from lnlbench.trials.attempt import run_trial
from lnlbench.trials.workspace import RunSettings, Workspace

# One training sample, so that units are per sample.
ONE = Sizes(stored=1, train=1, validation=0, test=0, own_validation=False)
LP = PhaseSpec("lp", 20)


def fft(epochs: int) -> PhaseSpec:
    return PhaseSpec("fft", epochs, augmentation="weak")


def method_of(name: str) -> type[Method]:
    return registry.methods().load(name)


def trial(method: str, *phases: PhaseSpec, share: float = 0.4, **params: Any) -> TrialSpec:
    """A trial in whose labels ``share`` is right."""
    return TrialSpec(
        dataset=DatasetSpec("digits", train_per_class=6, test_per_class=2),
        noise=NoiseSpec("symmetric", round(1.0 - share, 3)),
        backbone=BackboneSpec("efficientnet_lite0", image_size=32),
        tuning="-".join(phase.kind for phase in phases),
        method=method_of(method).resolve(method, "digits", params),
        seed=0,
        phases=phases,
    )


def units(spec: TrialSpec) -> float:
    return expected_units(spec, method_of(spec.method.name), ONE).training


@pytest.mark.parametrize("share", [0.1, 0.34, 0.5])
@pytest.mark.parametrize(
    ("method", "params", "formula"),
    [
        ("ce", {}, lambda rho: 3),
        ("gce", {}, lambda rho: 3),
        ("elr", {}, lambda rho: 3),
        ("sce", {}, lambda rho: 3),
        ("nce_rce", {}, lambda rho: 3),
        ("ce_entropy", {}, lambda rho: 3),
        ("ce_regularised", {}, lambda rho: 3),
        ("elr_plus", {}, lambda rho: 8),
        ("dividemix", {"warmup": 0}, lambda rho: 2 + 36 * rho),
        ("unicon", {"warmup": 0, "max_unlabelled_ratio": 10.0}, lambda rho: 20 + 16 * rho),
        # A bounded unlabelled batch: 4ρN unlabelled samples for each network where half of N were wanted.
        ("unicon", {"warmup": 0}, lambda rho: 20 + 16 * rho if rho >= 1 / 8 else 4 + 144 * rho),
        ("unicon", {"warmup": 0, "lam_c": 0.0, "max_unlabelled_ratio": 10.0}, lambda rho: 14 + 16 * rho),
        ("turn", {}, lambda rho: 1 + 3 * rho),
    ],
)
def test_an_epoch_of_fine_tuning_costs_what_the_protocol_says(
    method: str, params: dict[str, Any], formula: Any, share: float
) -> None:
    assert units(trial(method, fft(1), share=share, **params)) == pytest.approx(formula(share))


def test_warm_up_costs_six_for_two_networks() -> None:
    for method in ("dividemix", "unicon"):
        assert units(trial(method, fft(5), warmup=5)) == 30
        semi_supervised = units(trial(method, fft(1), warmup=0))
        # A quarter of five epochs, rounded up, is the warm-up where none is given.
        assert units(trial(method, fft(5))) == pytest.approx(2 * 6 + 3 * semi_supervised)
        # It is not repeated in a second phase.
        assert units(trial(method, LP, fft(4))) == pytest.approx(4 * semi_supervised)


def test_turn_takes_its_first_losses_from_probing() -> None:
    rho = 0.34
    assert units(trial("turn", LP, fft(4), share=rho)) == pytest.approx(3 + 4 * 3 * rho)
    assert units(trial("turn", LP, fft(4), share=rho, cleansing="once")) == pytest.approx(4 * 3 * rho)
    assert units(trial("turn", LP, fft(4), share=rho, cleansing="none")) == 12
    assert units(trial("turn", fft(4), share=rho, cleansing="once")) == pytest.approx(1 + 4 * 3 * rho)
    live = replace(LP, cache=False)  # 20 epochs of forward passes, and no features to take
    assert units(trial("turn", live, fft(4), share=rho)) == pytest.approx(20 + 4 + 4 * 3 * rho)


def test_ssr_judges_every_epoch_but_the_first_after_probing() -> None:
    assert units(trial("ssr", fft(5))) == 5 * 7
    assert units(trial("ssr", LP, fft(4))) == 4 * 7 - 1
    assert units(trial("ssr", LP)) == units(trial("cufit", LP)) == 0


def test_selecting_costs_a_pass_where_no_cache_has_the_features() -> None:
    rho = 0.4
    assert units(trial("select_then_tune", LP)) == 0
    assert units(trial("select_then_tune", fft(5))) == pytest.approx(1 + 5 * 3 * rho)
    assert units(trial("select_then_tune", LP, fft(4))) == pytest.approx(4 * 3 * rho)
    live = replace(LP, cache=False)
    assert units(trial("select_then_tune", live, fft(4))) == pytest.approx(1 + 20 * rho + 1 + 4 * 3 * rho)


@pytest.mark.parametrize(("rho", "relative"), [(0.34, 0.54), (0.08, 0.33)])
def test_turn_relative_to_ce_as_in_the_protocol(rho: float, relative: float) -> None:
    turn = trial("turn", LP, fft(4), share=rho)
    features = 1  # one pass of each training sample, counted in the protocol's figure
    assert (units(turn) + features) / units(trial("ce", fft(5))) == pytest.approx(relative, abs=0.01)


def test_probing_costs_nothing_on_cached_features_and_no_backward_on_live_ones() -> None:
    for method in ("ce", "dividemix", "unicon", "elr_plus"):
        assert units(trial(method, LP)) == 0
    for method in ("ncm", "knn", "wann"):
        assert units(trial(method, LP)) == 0
        # However many epochs: features are taken once.
        assert units(trial(method, replace(LP, cache=False))) == 1
    live = PhaseSpec("lp", 1, cache=False)
    assert units(trial("ce", live)) == 1
    assert units(trial("dividemix", live, warmup=0)) == pytest.approx(2 + 20 * 0.4)
    assert units(trial("elr_plus", live)) == 4


def test_who_depends_on_the_share() -> None:
    assert [
        name
        for name in ("ce", "gce", "elr", "elr_plus", "dividemix", "unicon", "turn")
        if depends_on_share(trial(name, fft(4)), method_of(name))
    ] == ["dividemix", "unicon", "turn"]
    assert not depends_on_share(trial("dividemix", LP), method_of("dividemix"))
    assert not depends_on_share(trial("turn", LP, fft(4), cleansing="none"), method_of("turn"))


def test_assumed_shares() -> None:
    assert assumed_share(NoiseSpec("symmetric", 0.9)) == pytest.approx(0.1)
    assert assumed_share(NoiseSpec("none")) == 1
    assert assumed_share(NoiseSpec("real")) == 0.5


def test_sizes_of_splits() -> None:
    assert sizes_of(DatasetSpec("cifar100"), {"train": 50_000, "test": 10_000}) == Sizes(
        50_000, 47_500, 2_500, 10_000, own_validation=False
    )
    own = sizes_of(DatasetSpec("clothing1m"), {"train": 100, "validation": 10, "test": 20})
    assert own == Sizes(100, 100, 10, 20, own_validation=True)


def test_evaluation_passes_every_network_after_every_epoch() -> None:
    sizes = Sizes(100, 95, 5, 20, own_validation=False)
    assert expected_units(trial("ce", fft(4)), method_of("ce"), sizes).evaluation == 4 * 25
    assert expected_units(trial("dividemix", fft(4)), method_of("dividemix"), sizes).evaluation == 2 * 4 * 25
    assert expected_units(trial("turn", LP, fft(4)), method_of("turn"), sizes).evaluation == 4 * 25


def test_features_are_extracted_once_for_all_trials() -> None:
    sizes = Sizes(100, 95, 5, 20, own_validation=False)
    names = ("ce", "gce", "turn", "dividemix", "unicon")
    methods = {name: method_of(name) for name in names}

    def extraction(*specs: TrialSpec, sizes: Sizes = sizes) -> list[float]:
        return list(expected_extraction(specs, methods, {specs[0].dataset: sizes}).values())

    assert extraction(trial("ce", LP)) == [120]  # training and test images
    assert extraction(trial("ce", LP), trial("gce", LP), trial("turn", LP, fft(4))) == [120]
    assert extraction(trial("ce", LP), trial("dividemix", LP)) == [120 + 2 * 100]
    assert extraction(trial("unicon", LP), trial("dividemix", LP)) == [120 + 4 * 100]
    assert extraction(trial("dividemix", replace(LP, views=5))) == [120 + 5 * 100]
    assert extraction(trial("ce", fft(4))) == []
    assert extraction(trial("ce", replace(LP, cache=False))) == []
    assert extraction(trial("ce", LP), sizes=Sizes(100, 100, 30, 20, own_validation=True)) == [150]
    # From scratch, each seed has a backbone of its own.
    scratch = replace(trial("ce", LP), backbone=BackboneSpec("efficientnet_lite0", weights="none"))
    assert extraction(scratch, replace(scratch, seed=1)) == [240]


def test_gpu_hours_grow_with_the_area() -> None:
    gmacs, side = registry.backbones().load("efficientnet_lite0").forward_gmacs  # type: ignore[misc]
    an_hour = SUSTAINED * 3600 / (2e9 * gmacs)
    assert gpu_hours(an_hour, BackboneSpec("efficientnet_lite0")) == pytest.approx(1)
    half = BackboneSpec("efficientnet_lite0", image_size=side // 2)
    assert gpu_hours(an_hour, half) == pytest.approx(1 / 4)
    assert gpu_hours(an_hour, BackboneSpec("timm:resnet18")) is None


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("vit_b16", "vit_base_patch16_224"),
        ("clip_vit_l14", "vit_large_patch14_clip_224"),
        ("convnext_t", "convnext_tiny"),
        ("resnet50", "resnet50"),
        ("efficientnet_lite0", "tf_efficientnet_lite0"),
    ],
)
def test_operations_are_those_of_the_architecture(name: str, architecture: str) -> None:
    with torch.device("meta"):  # shapes only: nothing is computed
        module = timm.create_model(architecture, pretrained=False, num_classes=0).eval()
        image = torch.zeros(1, 3, 224, 224)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(image)
    gmacs, side = registry.backbones().load(name).forward_gmacs  # type: ignore[misc]
    assert side == 224
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=0.01)


@pytest.mark.parametrize("method", ["ce", "elr_plus"])
def test_where_nothing_is_selected_the_estimate_is_the_count(method: str, tmp_path: Path) -> None:
    spec = trial(method, PhaseSpec("lp", 1, batch_size=16), replace(fft(2), batch_size=16))
    workspace = Workspace(RunSettings(data=None, cache=tmp_path))
    record = run_trial(spec, workspace)
    data = workspace.dataset(spec.dataset)
    sizes = sizes_of(spec.dataset, {"train": len(data.train), "test": len(data.test)})
    expected = expected_units(spec, method_of(method), sizes)
    assert units_of(record.ledger["training"]) == expected.training > 0
    assert units_of(record.ledger["evaluation"]) == expected.evaluation > 0
