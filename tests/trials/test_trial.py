"""Whole trials on a few real digits: what must agree, and what must not leak."""

import dataclasses
import textwrap

import pytest
import torch

from lnlbench.basics.process_settings import process_as_found
from lnlbench.grids.plan import plan
from lnlbench.models import calibration
from lnlbench.records.record import Status
from lnlbench.trials.attempt import attempt_trial, run_trial
from lnlbench.trials.checkpoint import decode, encode
from lnlbench.trials.measuring.accuracy import summarise
from lnlbench.trials.problem import prepare_problem
from lnlbench.trials.recording import record_of
from lnlbench.trials.trial import Trial
from lnlbench.trials.workspace import RunSettings, Workspace

COVERS = ("trial",)
SMALL = ["train_per_class=12", "test_per_class=6", "image_size=32", "lp.epochs=3", "fft.epochs=1"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(RunSettings(data=None, cache=tmp_path_factory.mktemp("cache"), threads=1))


def spec(method="ce", tuning="lp", noise="symmetric-0.6", sets=()):
    changes = [*SMALL, f"method={method}", f"tuning={tuning}", f"noise={noise}", *sets]
    (planned,) = plan("quickstart", sets=changes, seeds="0").planned
    return planned.spec


def comparable(record):
    """A record without times, and without what tells live and cached features apart."""
    return record.metrics, [
        {name: entry[name] for name in ("phase", "epoch", "validation", "test")} for entry in record.history
    ]


def test_the_same_spec_gives_the_same_numbers(workspace, tmp_path):
    first = run_trial(spec("gce"), workspace)
    cold = run_trial(spec("gce"), Workspace(RunSettings(data=None, cache=tmp_path, threads=1)))
    assert comparable(first) == comparable(cold)
    assert [entry["loss"] for entry in first.history] == [entry["loss"] for entry in cold.history]
    assert first.ledger == cold.ledger


def test_cached_and_live_probing_agree_without_augmentation(workspace):
    cached = run_trial(spec("gce"), workspace)
    live = run_trial(spec("gce", sets=["lp.cache=false"]), workspace)
    assert comparable(cached) == comparable(live)
    for one, other in zip(cached.history, live.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    samples = len(prepare_problem(spec("gce"), workspace).train_labels)
    assert cached.ledger["training"]["backbone_forward"] == 0
    assert cached.ledger["features"]["backbone_forward"] == samples
    assert live.ledger["training"]["backbone_forward"] == 3 * samples


def test_another_recipe_makes_other_views_of_the_same_images(tmp_path):
    workspace = Workspace(RunSettings(data=None, cache=tmp_path, threads=1))

    def stored():
        return {path.name for path in (tmp_path / "features").glob("*.npy")}

    default = run_trial(spec("dividemix"), workspace)
    before = stored()
    chosen = run_trial(spec("dividemix", sets=["recipe=crop-flip"]), workspace)
    # Two weak views, and nothing else: plain features are the same.
    assert len(stored() - before) == 2
    assert chosen.history[-1]["loss"] != default.history[-1]["loss"]
    named = run_trial(spec("dividemix", sets=["dataset_options.recipe=digits"]), workspace)
    assert comparable(named) == comparable(default)


def test_fine_tuning_a_frozen_backbone_is_probing(workspace, tmp_path):
    from lnlbench.plugins import registry

    plugin = tmp_path / "frozen.py"
    plugin.write_text(
        textwrap.dedent(
            '''
            from lnlbench.api import Method, functional

            class FrozenBackbone(Method):
                """Cross-entropy on a backbone that is held fixed in every phase."""

                def begin_phase(self, phase):
                    self.network.freeze(True)
                    super().begin_phase(phase)

                def loss(self, batch):
                    return functional.cross_entropy(self.network(batch.inputs), batch.labels)
            '''
        )
    )
    registry.methods().add_path(str(plugin))
    same = ["fft.augmentation=none"]
    for kind in ("lp", "fft"):
        same += [f"{kind}.epochs=2", f"{kind}.lr=0.01", f"{kind}.optimizer=sgd"]
    tuned = run_trial(spec("frozen_backbone", "fft", sets=[*same, "fft.batch_norm=update"]), workspace)
    probed = run_trial(spec("ce", "lp", sets=same), workspace)
    assert [entry["test"] for entry in tuned.history] == [entry["test"] for entry in probed.history]
    for one, other in zip(tuned.history, probed.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    assert tuned.ledger["training"]["backbone_backward"] == 0


def test_the_corruption_does_not_depend_on_method_backbone_or_tuning(workspace):
    one = prepare_problem(spec("ce", "lp"), workspace)
    other = prepare_problem(spec("turn", "lp-fft", sets=["image_size=48"]), workspace)
    assert torch.equal(one.train_labels, other.train_labels)
    assert torch.equal(one.train_rows, other.train_rows)
    third = prepare_problem(dataclasses.replace(spec(), seed=1), workspace)
    assert not torch.equal(one.train_labels[: len(third.train_labels)], third.train_labels)


def test_validation_labels_are_as_noisy_as_training_labels_unless_asked(workspace):
    sets = ["validation_fraction=0.5"]
    noisy = prepare_problem(spec(noise="symmetric-0.9", sets=sets), workspace)
    clean = prepare_problem(spec(noise="symmetric-0.9", sets=[*sets, "validation_labels=clean"]), workspace)
    assert torch.equal(noisy.validation_rows, clean.validation_rows)
    truth = torch.from_numpy(noisy.dataset.train.labels)[noisy.validation_rows]
    assert torch.equal(clean.validation_labels, truth)
    # Nine in ten labels are drawn anew, and nine in ten of those are wrong.
    assert 0.6 < (noisy.validation_labels != truth).double().mean() < 0.98


def test_turn_reuses_the_features_of_probing_for_its_first_selection(workspace):
    record = run_trial(spec("turn", "lp-fft", sets=["lp-fft.fft.epochs=2"]), workspace)
    samples = record.data["train"]
    selected = [entry["selection"]["size"] for entry in record.history if "selection" in entry]
    counts = record.ledger["training"]
    assert len(selected) == 2
    assert counts["backbone_forward"] == samples  # the second pass only
    assert counts["backbone_forward_grad"] == counts["backbone_backward"] == sum(selected)
    assert record.selection["size"] == selected[-1]
    assert record.metrics["last"] == record.history[-1]["test"]


def test_best_is_chosen_by_validation_and_oracle_by_test():
    accuracies = [(50.0, 60.0), (70.0, 61.0), (70.0, 90.0), (65.0, 80.0)]
    history = [
        {"epoch": epoch, "validation": validation, "test": test}
        for epoch, (validation, test) in enumerate(accuracies)
    ]
    assert summarise(history) == {
        "best": 61.0,
        "last": 80.0,
        "oracle": 90.0,
        "best_epoch": 1,
        "oracle_epoch": 2,
    }


def test_a_plugin_that_raises_becomes_a_record_with_its_reason(workspace, tmp_path):
    from lnlbench.plugins import registry

    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "from lnlbench.api import Method\n"
        "class Broken(Method):\n"
        "    def epoch(self, phase):\n"
        "        raise RuntimeError('the flux is off')\n"
    )
    registry.methods().add_path(str(plugin))
    record = attempt_trial(spec("broken"), workspace)
    assert record.status is Status.FAILED
    assert record.error["type"] == "RuntimeError"
    assert record.error["message"] == "the flux is off"
    assert "broken.py" in record.error["traceback"]


def test_a_loss_that_is_not_finite_fails_the_trial_with_advice(workspace):
    record = attempt_trial(spec("ce", sets=["lp.lr=1e30", "lp.epochs=8"]), workspace)
    assert record.status is Status.FAILED
    assert record.error["type"] == "TrialError"
    assert "not finite" in record.error["message"]
    assert "lr" in record.error["hint"]


def test_a_record_says_on_what_it_was_measured(workspace):
    record = run_trial(spec(), workspace)
    assert record.execution["threads"] == 1
    assert record.environment["versions"]["torch"].startswith(torch.__version__.partition("+")[0])
    assert len(record.plugin["fingerprint"].removeprefix("2:")) == len(record.data["fingerprint"]) == 64
    total = sum(record.times[name] for name in ("setup_s", "train_s", "eval_s"))
    assert record.times["wall_s"] >= total
    assert record.noise["realised_rate"] == pytest.approx(0.54, abs=0.15)


@pytest.fixture
def brief(monkeypatch):
    """Calibrate on few images: most processors have no fp16, and emulate it."""
    monkeypatch.setattr(calibration, "_SECONDS", 0.0)


@pytest.mark.usefixtures("brief")
def test_a_trial_in_fp16_continues_with_the_scale_that_it_had(workspace):
    small = spec(tuning="fft", sets=["fft.epochs=2", "train_per_class=3", "test_per_class=1"])
    small = dataclasses.replace(small, precision="fp16")

    def start():
        trial = Trial(small, workspace)
        trial.model.execution = replace_scaler(trial.model.execution)
        return trial

    def replace_scaler(execution):
        # So large that the first step overflows, and growing soon: the scale has a history.
        class Eager(type(execution)):
            def scaler(self, device):
                return torch.amp.GradScaler(device.type, init_scale=2.0**40, growth_interval=2)

        return Eager(execution.precision, execution.channels_last)

    whole = start()
    list(whole.epochs())
    first = start()
    epochs = first.epochs()
    next(epochs)
    saved = decode(encode(first.state()))
    assert saved["scaler"]["scale"] < 2.0**40
    second = start()
    list(second.epochs(saved))
    assert [entry["loss"] for entry in second.history] == [entry["loss"] for entry in whole.history]
    record = record_of(whole)
    assert record.execution["precision"] == "fp16"
    assert record.events["fp16_overflow"] > 0
    assert record_of(second).events == record.events
    one, other = (trial.model.networks[0].state_dict() for trial in (whole, second))
    assert all(torch.equal(one[name], other[name]) for name in one if name != "_extra_state")
    assert whole.phase.scaler.state_dict() == second.phase.scaler.state_dict()


@pytest.mark.usefixtures("brief")
def test_probing_in_fp16_scales_nothing(workspace):
    trial = Trial(dataclasses.replace(spec(), precision="fp16"), workspace)
    next(trial.epochs())
    assert trial.phase.scaler is None
    assert trial.state()["scaler"] is None


def test_a_record_says_how_it_was_computed(workspace, tmp_path):
    execution = run_trial(spec(), workspace).execution
    assert (execution["deterministic"], execution["tf32"], execution["peak_memory"]) == (False, None, None)
    setting = RunSettings(data=None, cache=workspace.setting.cache, threads=1, deterministic=True)
    record = attempt_trial(spec(tuning="fft"), Workspace(setting))
    assert record.status is Status.DONE, record.error
    assert record.execution["deterministic"] is True
    assert not torch.are_deterministic_algorithms_enabled()  # for others in this process


def test_checkpoints_with_and_without_determinism_are_not_mixed(workspace):
    setting = RunSettings(data=None, cache=workspace.setting.cache, threads=1, deterministic=True)
    with process_as_found():
        strict = Trial(spec(), Workspace(setting)).identity
    loose = Trial(spec(), workspace).identity
    assert strict == {**loose, "deterministic": True}
    assert "deterministic" not in loose  # or those of earlier versions could not be continued
