"""Batch statistics that are adapted to the data, and how much train mode changes a probed network."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from small_problem import NoisyViews, SmallProblem
from torch import nn

from lnlbench.basics.facts import LARGE_SHIFT
from lnlbench.errors import UsageError
from lnlbench.models import batch_statistics
from lnlbench.models.execution import Execution
from lnlbench.spec import BackboneSpec, DatasetSpec, NoiseSpec, PhaseSpec, TrialSpec
from lnlbench.trials.adaptation import IMAGES, adapted, chosen_images
from lnlbench.trials.attempt import run_trial
from lnlbench.trials.measuring.mode_shift import measure_shift, shift_warning
from lnlbench.trials.recording import record_of
from lnlbench.trials.trial import Trial
from lnlbench.trials.workspace import RunSettings, Workspace

COVERS = ("trial", "cache")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(RunSettings(data=None, cache=tmp_path_factory.mktemp("cache")))


def trial_spec(batch_norm="adapt", tuning=("lp", "fft"), method="ce"):
    from lnlbench.plugins import registry

    phases = {
        "lp": PhaseSpec("lp", 2, batch_size=16, lr=0.05),
        "fft": PhaseSpec("fft", 1, batch_size=16, lr=1e-3, augmentation="weak", batch_norm=batch_norm),
    }
    return TrialSpec(
        DatasetSpec("digits", train_per_class=6, test_per_class=3, validation_fraction=0.1),
        NoiseSpec("symmetric", 0.2),
        BackboneSpec("efficientnet_lite0", image_size=32),
        "-".join(tuning),
        registry.methods().load(method).resolve(method, "digits", {}),
        seed=0,
        phases=tuple(phases[kind] for kind in tuning),
        precision="fp32",
    )


# Statistics


def convolutional():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)
    )


def test_estimated_statistics_are_means_over_batches_of_their_means_and_variances():
    module = convolutional()
    batches = [3.0 + 2.0 * torch.randn(6, 3, 8, 8) for _ in range(3)]
    found = batch_statistics.estimate(module, (module(batch) for batch in batches))
    with torch.no_grad():
        first = [module[0](batch) for batch in batches]
        # The second layer sees what the first one has normalised by the batch.
        normal = [
            (x - x.mean((0, 2, 3), keepdim=True))
            / (x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
            for x in first
        ]
        second = [module[3](x.relu()) for x in normal]
    expected = []
    for layer in (first, second):
        expected.append(torch.stack([x.mean((0, 2, 3)) for x in layer]).mean(0))
        expected.append(torch.stack([x.var((0, 2, 3)) for x in layer]).mean(0))
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=1e-4)
    assert not module.training
    assert [layer.momentum for layer in batch_statistics.normalisers(module)] == [0.1, 0.1]


def test_statistics_are_written_as_they_were_read():
    module, other = convolutional(), convolutional()
    batch_statistics.estimate(module, (module(torch.randn(4, 3, 8, 8)) for _ in range(2)))
    batch_statistics.write(other, batch_statistics.read(module))
    assert torch.equal(batch_statistics.read(other), batch_statistics.read(module))
    assert batch_statistics.count(module) == 2 * (4 + 5)
    assert batch_statistics.count(nn.Linear(3, 2)) == 0


# Adaptation


def test_an_adapted_backbone_is_another_one_with_statistics_of_the_images(workspace):
    spec = trial_spec()
    dataset = workspace.dataset(spec.dataset)
    backbone = workspace.backbone(spec.backbone)
    before = copy.deepcopy(backbone.module.state_dict())
    found, entry = adapted(backbone, dataset, workspace, Execution())
    assert all(torch.equal(before[name], value) for name, value in backbone.module.state_dict().items())
    assert found.fingerprint.startswith(f"{backbone.fingerprint}+")
    assert entry.array.shape == (1, batch_statistics.count(backbone.module))
    # The first layer's mean, by hand: its input does not depend on any statistics. One batch holds all.
    (conv,) = [part for part in backbone.module.modules() if isinstance(part, nn.Conv2d)][:1]
    seen = []
    handle = conv.register_forward_hook(lambda module, inputs, output: seen.append(output))
    inputs = workspace.image_inputs(dataset, dataset.train, torch.arange(60), backbone, Execution())
    with torch.no_grad():
        backbone.module(inputs.plain(torch.arange(60)))
    handle.remove()
    (first, *_) = batch_statistics.normalisers(found.module)
    torch.testing.assert_close(first.running_mean, seen[0].mean((0, 2, 3)), atol=1e-4, rtol=1e-4)
    # Everything that learns is the same.
    pairs = zip(found.module.parameters(), backbone.module.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_images_are_drawn_once_for_a_data_set_and_labels_do_not_matter(workspace):
    dataset = workspace.dataset(DatasetSpec("digits"))
    drawn = chosen_images(dataset)
    assert torch.equal(drawn, chosen_images(dataset))
    assert sorted(drawn.tolist()) == list(range(len(dataset.train)))
    assert len(dataset.train) < IMAGES
    assert not torch.equal(drawn, torch.arange(len(drawn)))


def test_a_backbone_without_batch_normalisation_stays_as_it_is(workspace):
    spec = trial_spec()
    backbone = dataclasses.replace(workspace.backbone(spec.backbone), module=nn.Flatten())
    assert adapted(backbone, workspace.dataset(spec.dataset), workspace, Execution()) == (backbone, None)


def test_probing_and_fine_tuning_see_one_adapted_network(tmp_path):
    workspace = Workspace(RunSettings(data=None, cache=tmp_path))
    trial = Trial(trial_spec(), workspace)
    epochs = trial.epochs()
    next(epochs)
    probed = trial.splits.train.plain(torch.arange(54))
    next(epochs)
    record = [*epochs] and record_of(trial)
    network = Trial(trial_spec(), workspace).model.network(0)
    live = workspace.image_inputs(
        trial.problem.dataset,
        trial.problem.dataset.train,
        trial.problem.train_rows,
        trial.model.backbone,
        Execution(),
    )
    with torch.no_grad():
        features = network.eval().features(live.plain(torch.arange(54)))
    torch.testing.assert_close(features, probed, atol=1e-4, rtol=1e-4)
    # 54 training samples and 60 images for the statistics.
    assert record.ledger["features"]["backbone_forward"] == 54 + 60
    # Adapted features have names of their own, and the others' keep theirs.
    adapted_names = {path.name for path in (tmp_path / "features").glob("*.npy")}
    run_trial(trial_spec("frozen"), workspace)
    names = {path.name for path in (tmp_path / "features").glob("*.npy")}
    assert len(adapted_names) == 3  # statistics; training and test features
    assert len(names - adapted_names) == 2
    # A record names the weights that it started from; what was made of them is no part of that.
    assert record.plugin["backbone"] == workspace.backbone(trial_spec().backbone).fingerprint


def test_identities_of_earlier_settings_stay():
    update, frozen, adapting = (trial_spec(value) for value in ("update", "frozen", "adapt"))
    assert len({update.trial_id, frozen.trial_id, adapting.trial_id}) == 3
    assert "batch_norm" not in str(update.canonical())
    assert [spec.adapts for spec in (update, frozen, adapting)] == [False, False, True]
    with pytest.raises(UsageError, match="batch_norm"):
        trial_spec("adopt")


# Modes


def probed_network(problem, statistics):
    """A network whose head tells the images apart in eval mode."""
    network = problem.network(0)
    network.freeze(False, statistics=statistics)
    with torch.no_grad():
        network.head.bias -= network.eval()(problem.images).mean(0)
    return network


@pytest.mark.parametrize("frozen", [True, False])
def test_a_shift_is_the_share_of_changed_predictions_and_leaves_no_trace(frozen):
    problem = SmallProblem(samples=40)
    problem.images = 3.0 * problem.images + 2.0  # far from the running statistics, 0 and 1
    network = probed_network(problem, frozen)
    network.train()
    before = copy.deepcopy(network.state_dict())
    counts = problem.ledger.to_dict()
    shift = measure_shift(network, NoisyViews(problem.images), 24, 5, problem.ledger)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name != "_extra_state")
    assert network.training
    assert network.pristine
    assert problem.ledger.to_dict() == counts
    assert (shift["samples"], shift["batch_norm"]) == (24, True)
    # By hand: the same images, in both modes.
    rows = torch.randperm(40, generator=torch.Generator().manual_seed(5))[:24]
    with torch.no_grad():
        expected = network.eval()(problem.images[rows]).argmax(1)
        in_train_mode = network.train()(problem.images[rows]).argmax(1)
    assert shift["train_mode"] == pytest.approx(100 * float((expected != in_train_mode).double().mean()))
    if frozen:
        assert shift["train_mode"] == 0.0
    else:
        assert shift["train_mode"] > 0.0


def test_all_samples_are_compared_where_a_batch_would_hold_more():
    problem = SmallProblem(samples=12)
    network = probed_network(problem, True)
    assert measure_shift(network, NoisyViews(problem.images), 64, 0, problem.ledger)["samples"] == 12


def test_the_first_epoch_of_fine_tuning_after_probing_tells_the_shift(workspace):
    update = run_trial(trial_spec("update"), workspace)
    assert ["shift" in entry for entry in update.history] == [False, False, True]
    shift = update.history[2]["shift"]
    assert (shift["samples"], shift["batch_norm"]) == (16, True)
    frozen = run_trial(trial_spec("frozen"), workspace)
    assert frozen.history[2]["shift"]["train_mode"] == 0.0
    alone = run_trial(trial_spec("update", tuning=("fft",)), workspace)
    assert "shift" not in alone.history[0]


def test_a_large_change_is_a_warning_that_names_the_setting():
    spec = trial_spec("update")
    shift = {"samples": 16, "train_mode": LARGE_SHIFT, "weak_views": 12.0, "batch_norm": True}
    text = shift_warning(spec, {"phase": "fft", "shift": shift})
    assert "change 25 % of the predictions of efficientnet_lite0 on digits" in text
    assert 'fft.batch_norm is "update"' in text
    assert shift_warning(spec, {"phase": "fft", "shift": {**shift, "train_mode": 24.9}}) is None
    assert shift_warning(spec, {"phase": "fft", "shift": {**shift, "batch_norm": False}}) is None
    assert shift_warning(spec, {"phase": "lp"}) is None
