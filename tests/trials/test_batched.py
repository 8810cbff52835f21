"""Trials that are trained together beside the same trials by themselves, on real digits."""

from __future__ import annotations

import dataclasses
import textwrap

import pytest
import torch

from lnlbench.api.phase import Phase
from lnlbench.errors import PluginError
from lnlbench.grids.plan import plan
from lnlbench.plugins import registry
from lnlbench.records.record import Status
from lnlbench.running.worker import Limits, work_together
from lnlbench.trials import trial as trial_module
from lnlbench.trials.attempt import attempt_trial, run_trial
from lnlbench.trials.batched import together as together_module
from lnlbench.trials.batched.grouping import LARGEST_GROUP, group_key, units_of
from lnlbench.trials.batched.head_rows import HeadRows
from lnlbench.trials.batched.together import Together
from lnlbench.trials.checkpoint import Checkpoints
from lnlbench.trials.networks import Model
from lnlbench.trials.workspace import RunSettings, Workspace

COVERS = ("trial",)
SMALL = ["train_per_class=12", "test_per_class=6", "image_size=32", "lp.epochs=3", "lp.batch_size=16"]
SGD, ADAMW = ["lp.optimizer=sgd", "lp.lr=0.05"], ["lp.optimizer=adamw", "lp.lr=0.003"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def workspace(cache):
    return Workspace(RunSettings(data=None, cache=cache, threads=1))


def spec(method="ce", *sets, noise="symmetric-0.6", tuning="lp"):
    changes = [*SMALL, f"method={method}", f"tuning={tuning}", f"noise={noise}", *sets]
    (planned,) = plan("quickstart", sets=changes, seeds="0").planned
    return planned.spec


def many():
    """Trials of all methods, with either optimiser and settings of their own."""
    return [
        spec("ce", *SGD),
        spec("ce", *SGD, "lp.lr=0.5", "lp.momentum=0", "lp.weight_decay=0.1", "lp.epochs=2"),
        spec("ce", *ADAMW, "lp.schedule=cosine"),
        spec("gce", *SGD, "lp.schedule=cosine"),
        spec("gce", *ADAMW, "methods.gce.q=0.3", "methods.gce.truncation=0.2"),
        spec("elr", *SGD, "lp.epochs=4"),
        spec("elr", *ADAMW, "methods.elr.lam=7", "methods.elr.beta=0.9"),
        spec("sce", *SGD, "methods.sce.alpha=6"),
        spec("sce", *ADAMW, "lp.epochs=1"),
        spec("nce_rce", *SGD),
        spec("nce_rce", *ADAMW, "methods.nce_rce.alpha=10", "lp.weight_decay=0"),
        spec("ce_entropy", *SGD, "lp.momentum=0.5"),
        spec("ce_entropy", *ADAMW, "methods.ce_entropy.lam=2"),
    ]


def run_together(specs, workspace, stop=lambda: False):
    told = {}
    group = Together(specs, workspace, lambda s, e: told.setdefault(s.trial_id, []).append(e["epoch"]), stop)
    records = {record.trial_id: record for record in group.records()}
    return records, group, told


def assert_alike(record, alone, tolerance=1e-4):
    """All that a trial measures is the same, but for times; losses up to rounding."""
    assert record.status is alone.status is Status.DONE
    assert record.spec == alone.spec
    assert [e["epoch"] for e in record.history] == [e["epoch"] for e in alone.history]
    for one, other in zip(record.history, alone.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=tolerance, abs=tolerance)
        for name in ("validation", "test"):  # a sample on the edge may fall to either side
            assert one[name] == pytest.approx(other[name], abs=2.0)
        assert one["metrics"].keys() == other["metrics"].keys()
    for name in ("ledger", "events", "noise", "data"):
        assert getattr(record, name) == getattr(alone, name)
    drop = ("batched", "feature_threads")
    kept = ({k: v for k, v in r.execution.items() if k not in drop} for r in (record, alone))
    assert next(kept) == next(kept)
    assert record.times.keys() == alone.times.keys()


@pytest.fixture
def double(monkeypatch):
    """Let heads and features be float64, and note the losses of all steps by trial."""
    make_splits, network = trial_module.make_splits, Model.network

    def doubled(*args):
        splits = make_splits(*args)
        return dataclasses.replace(
            splits,
            **{
                name: dataclasses.replace(inputs, plain_features=inputs.plain_features.double())
                for name in ("train", "validation", "test")
                for inputs in [getattr(splits, name)]
            },
        )

    def double_network(self, number):
        made = network(self, number)
        made.head.double()
        return made

    monkeypatch.setattr(trial_module, "make_splits", doubled)
    monkeypatch.setattr(Model, "network", double_network)


@pytest.fixture
def losses(monkeypatch):
    """The losses of all steps: of phases in the order in which they began, and by trial of those together."""
    by_phase, by_trial = {}, {}
    record, step = Phase.record, HeadRows.step

    def note(self, loss):
        by_phase.setdefault(id(self), (self, []))[1].append(float(loss.detach()))
        record(self, loss)

    def note_all(self, batch):
        found = step(self, batch)
        for trial, loss in zip(self.trials, found.tolist(), strict=True):
            by_trial.setdefault(trial.spec.trial_id, []).append(loss)
        return found

    monkeypatch.setattr(Phase, "record", note)
    monkeypatch.setattr(HeadRows, "step", note_all)
    return by_phase, by_trial


@pytest.mark.usefixtures("double")
def test_every_step_is_that_of_the_trial_by_itself_in_double_precision(workspace, losses):
    by_phase, by_trial = losses
    specs = many()
    records, group, told = run_together(specs, workspace)
    assert not group.apart
    assert not by_phase  # no step was taken otherwise
    for one in specs:
        by_phase.clear()
        alone = run_trial(one, workspace)
        ((_, expected),) = by_phase.values()
        assert by_trial[one.trial_id] == pytest.approx(expected, rel=1e-10, abs=1e-10)
        assert len(expected) == one.epochs * 8  # 114 samples in batches of 16
        record = records[one.trial_id]
        assert_alike(record, alone, 1e-6)  # means of an epoch are of single precision
        assert [e["test"] for e in record.history] == [e["test"] for e in alone.history]
        assert [e["prediction_changes"] for e in record.history] == [
            e["prediction_changes"] for e in alone.history
        ]
        assert told[one.trial_id] == list(range(one.epochs))


def test_records_are_those_of_the_trials_by_themselves_in_single_precision(workspace):
    specs = many()
    records, _, _ = run_together(specs, workspace)
    for one in specs:
        record, alone = records[one.trial_id], run_trial(one, workspace)
        assert_alike(record, alone)
        assert record.execution["batched"] == len(specs)
        assert "batched" not in alone.execution
        assert record.plugin == alone.plugin
        assert record.times["train_s"] > 0.0
        assert record.times["eval_s"] > 0.0
        total = sum(entry["train_s"] for entry in record.history)
        assert record.times["train_s"] == pytest.approx(total, abs=1e-3)


def test_a_trial_that_diverges_fails_alone(workspace):
    broken = spec("ce", *SGD, "lp.lr=1e30")
    others = [spec("ce", *SGD), spec("elr", *ADAMW)]
    records, group, told = run_together([others[0], broken, others[1]], workspace)
    assert not group.apart
    failure, alone = records[broken.trial_id], attempt_trial(broken, workspace)
    assert failure.status is Status.FAILED
    for name in ("type", "message", "hint"):
        assert failure.error[name] == alone.error[name]
    assert len(told.get(broken.trial_id, [])) < 3
    for one in others:
        assert_alike(records[one.trial_id], run_trial(one, workspace))


def saving(cache, folder):
    return Workspace(RunSettings(data=None, cache=cache, threads=1, checkpoints=folder))


@pytest.mark.parametrize("continued", ["together", "alone"])
def test_an_interruption_saves_what_is_unfinished_and_it_continues(cache, tmp_path, workspace, continued):
    specs = [spec("ce", *SGD, "lp.epochs=1"), spec("elr", *SGD), spec("gce", *ADAMW)]
    asked = []

    def stop():
        asked.append(None)
        return len(asked) > 3  # before the group, before those in step, after the first epoch, and then

    saved = saving(cache, tmp_path)
    records, group, told = run_together(specs, saved, stop)
    over = [len(told[one.trial_id]) for one in specs]
    assert over == [1, over[1], over[1]]
    assert over[1] in (1, 2)
    assert list(records) == [specs[0].trial_id]  # its last epoch was over
    assert not group.apart
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.saved() == sorted(one.trial_id for one in specs[1:])
    if continued == "together":
        found, _, told = run_together(specs[1:], saved)
        assert told == {one.trial_id: [0, 1, 2] for one in specs[1:]}
    else:
        found = {one.trial_id: run_trial(one, saved) for one in specs[1:]}
    for one in specs[1:]:
        record, whole = found[one.trial_id], run_trial(one, workspace)
        continued_after = record.execution.pop("continued")
        assert continued_after == [{"threads": 1, "batched": 3}]
        whole.execution.pop("continued")
        assert_alike(record, whole)


def test_a_trial_by_itself_is_continued_together(cache, tmp_path, workspace):
    specs = [spec("elr", *SGD), spec("ce", *ADAMW)]
    saved = saving(cache, tmp_path)
    for one in specs:

        class Enough(BaseException):
            pass

        def enough(entry, enough=Enough):
            raise enough

        with pytest.raises(Enough):
            run_trial(one, saved, enough)
    records, group, _ = run_together(specs, saved)
    assert not group.apart
    for one in specs:
        record, whole = records[one.trial_id], run_trial(one, workspace)
        assert record.execution.pop("continued") == [{"threads": 1}]
        whole.execution.pop("continued")
        assert_alike(record, whole)


def test_memory_bounds_the_number_of_heads(workspace, monkeypatch):
    monkeypatch.setattr(together_module, "MOST_MEMORY", 2)
    specs = many()[:3]
    records, group, _ = run_together(specs, workspace)
    assert not records  # not even two fit
    assert group.apart == specs
    monkeypatch.setattr(together_module, "memory_of", lambda trial: 1)
    records, group, _ = run_together(specs, workspace)
    assert [record.execution["batched"] for record in records.values()] == [2, 2]
    assert group.apart == specs[2:]


def test_what_a_loss_raises_for_all_leaves_them_to_themselves(workspace, monkeypatch):
    from lnlbench.methods.gce import GCE

    def wrong(heads, logits, batch):
        return logits.mean()

    monkeypatch.setattr(GCE, "head_losses", staticmethod(wrong))
    specs = [spec("ce", *SGD), spec("gce", *SGD)]
    warned = []
    found = list(work_together(specs, workspace, Limits(), lambda s, e: None, warned.append))
    assert [record.status for record in found] == [Status.DONE] * 2
    assert ["batched" in record.execution for record in found] == [False, False]
    (text,) = warned
    assert "2 trials could not be trained together (PluginError: GCE.head_losses() returned [] losses" in text


# Which go together


def test_what_decides_about_batches_keeps_trials_apart():
    one = spec("ce", *SGD)
    same = [
        spec("gce", *ADAMW, "lp.epochs=7", "lp.schedule=cosine", "lp.weight_decay=0.3", "lp.momentum=0.1"),
        spec("elr", *SGD, "methods.elr.lam=1"),
    ]
    other = [
        spec("ce", *SGD, "lp.batch_size=32"),
        spec("ce", *SGD, "lp.augmentation=weak"),
        spec("ce", *SGD, noise="asymmetric-0.4"),
        spec("ce", *SGD, "image_size=48"),
        spec("ce", *SGD, "train_per_class=13"),
        spec("ce", *SGD, "precision=fp32"),
        dataclasses.replace(one, seed=1),
    ]
    alone = [
        spec("ce", *SGD, "lp.cache=false"),
        spec("ce", tuning="fft"),
        spec("ce", tuning="lp-fft"),
        spec("dividemix"),
        spec("ce_regularised"),
        spec("ncm"),
    ]
    assert {group_key(each) for each in same} == {group_key(one)}
    assert len({group_key(each) for each in other} - {None, group_key(one)}) == len(other)
    assert {group_key(each) for each in alone} == {None}
    units = units_of([alone[0], one, other[0], same[0], alone[1], same[1]])
    assert units == [(alone[0],), (one, same[0], same[1]), (other[0],), (alone[1],)]


def test_groups_are_neither_too_large_nor_too_few_for_the_jobs():
    trials = [spec("ce", *SGD, f"lp.weight_decay={number}e-5") for number in range(1, 8)]

    def sizes(count, jobs):
        numbered = [dataclasses.replace(trials[0], seed=seed) for seed in range(count)]
        return [len(unit) for unit in units_of(numbered, jobs, key=lambda spec: 0)]

    assert [len(unit) for unit in units_of(trials)] == [7]
    assert [len(unit) for unit in units_of(trials, jobs=2)] == [4, 3]
    assert sizes(LARGEST_GROUP + 1, 1) == [33, 32]
    assert sizes(3, 8) == [1, 1, 1]


def test_a_subclass_with_another_loss_and_no_losses_of_heads_is_trained_alone(tmp_path):
    plugin = tmp_path / "heirs.py"
    plugin.write_text(
        textwrap.dedent(
            '''
            from lnlbench.api import Batch, Method

            class Whole(Method):
                """All of it."""

                def loss(self, batch):
                    return self.network(batch.inputs).mean()

                @staticmethod
                def head_losses(heads: Method.Heads, logits, batch: Batch):
                    return logits.mean((1, 2))

            class Heir(Whole):
                """Only another name."""

            class OtherLoss(Whole):
                """Another loss, and the old losses of heads."""

                def loss(self, batch):
                    return 2.0 * self.network(batch.inputs).mean()
            '''
        )
    )
    found = {}
    for name in ("Whole", "Heir", "OtherLoss"):
        registry.methods().add_path(f"{plugin}:{name}")
    for name in ("whole", "heir", "other_loss"):
        found[name] = group_key(spec(name)) is not None
    assert found == {"whole": True, "heir": True, "other_loss": False}


def test_a_method_without_losses_of_heads_says_so():
    from lnlbench.api import Method

    with pytest.raises(PluginError, match="no head_losses"):
        Method.head_losses(None, torch.zeros(1, 1, 1), None)
