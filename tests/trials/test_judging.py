"""Verdicts of whole trials: every training sample has one, and they are what the method says."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lnlbench.data.dataset import UNKNOWN, WRONG
from lnlbench.grids.plan import plan
from lnlbench.records.beside.verdicts import Verdicts, read_verdicts
from lnlbench.trials.attempt import run_trial
from lnlbench.trials.checkpoint import decode, encode
from lnlbench.trials.judging import memorised
from lnlbench.trials.problem import prepare_problem
from lnlbench.trials.recording import record_of
from lnlbench.trials.trial import Trial
from lnlbench.trials.workspace import RunSettings, Workspace

SMALL = ["train_per_class=12", "test_per_class=6", "image_size=32", "lp.epochs=2", "fft.epochs=1"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    settings = RunSettings(data=None, cache=tmp_path_factory.mktemp("cache"), threads=1, verdicts=True)
    return Workspace(settings)


def spec(*sets):
    (planned,) = plan("quickstart", sets=[*SMALL, *sets], seeds="0").planned
    return planned.spec


def table_of(record, tmp_path):
    path = tmp_path / "v.parquet"
    path.write_bytes(record.verdict_table)
    return read_verdicts(path, record.verdicts["sha256"])


def test_every_training_sample_has_a_verdict(workspace, tmp_path):
    asked = spec("method=gce", "tuning=lp", "noise=symmetric-0.6", "validation_fraction=0.2")
    record = run_trial(asked, workspace)
    found = table_of(record, tmp_path)
    problem = prepare_problem(asked, workspace)
    assert len(found) == 10 * 12 == record.verdicts["rows"]
    held_out = found["split"] == "validation"
    assert sorted(found["sample"][held_out]) == sorted(problem.validation_rows.tolist())
    given = np.array(found["given"].cat.codes)
    assert np.array_equal(given[problem.train_rows], problem.train_labels)
    assert np.array_equal(given[problem.validation_rows], problem.validation_labels)
    # The held-out samples' predictions are those whose accuracy the record has.
    right = (found["given"].astype(str) == found["predicted"].astype(str))[held_out]
    assert 100 * right.mean() == pytest.approx(record.history[-1]["validation"])
    agree = found["given"].astype(str) == found["predicted"].astype(str)
    assert ((found["margin"] > 0) == agree).all()
    assert found["score"].isna().all()


def test_memorised_are_wrong_labels_that_are_predicted(workspace, tmp_path):
    # Enough epochs at a high rate, and some of the wrong labels are learnt, and not all.
    asked = spec("method=ce", "tuning=lp", "noise=symmetric-0.6", "lp.epochs=20", "lp.lr=0.01")
    record = run_trial(asked, workspace)
    problem = prepare_problem(asked, workspace)
    true = dict(zip(problem.train_rows.tolist(), problem.true_labels, strict=True))
    names = problem.dataset.classes
    learnt = [
        predicted == given
        for sample, given, predicted in table_of(record, tmp_path)[
            ["sample", "given", "predicted"]
        ].itertuples(index=False)
        if sample in true and given != names[true[sample]]
    ]
    assert 0 < sum(learnt) < len(learnt)
    assert record.verdicts["memorised"] == pytest.approx(100 * sum(learnt) / len(learnt))


def test_where_no_label_is_known_to_be_wrong_nothing_is_memorised(workspace):
    assert run_trial(spec("method=ce", "tuning=lp", "noise=none"), workspace).verdicts["memorised"] is None
    real = spec("method=ce", "tuning=lp", "noise=real")  # of labels that nobody verified
    assert run_trial(real, workspace).verdicts["memorised"] is None


def test_labels_of_which_nobody_knows_the_truth_do_not_count():
    true = np.array([0, 1, UNKNOWN, WRONG])
    problem = SimpleNamespace(train_rows=torch.tensor([0, 2, 3, 5]), true_labels=true)
    given = np.array([1, 9, 1, 2, 9, 0])  # of rows 0, 2, 3 and 5: wrong, right or not, unknown, wrong
    held_out = np.array([False, True, False, False, True, False])
    found = Verdicts(tuple("abc"), held_out, given, given.copy(), np.zeros(6), np.zeros(6))
    found.predicted[5] = 1
    assert memorised(found, problem) == 50.0


def test_a_selection_is_in_the_verdicts(workspace, tmp_path):
    asked = spec("method=turn", "tuning=lp-fft", "noise=symmetric-0.6", "lp-fft.fft.epochs=1")
    record = run_trial(asked, workspace)
    found = table_of(record, tmp_path)
    train = found[found["split"] == "train"]
    assert int(train["selected"].sum()) == record.selection["size"]
    assert train["score"].between(0, 1).all()
    assert found[found["split"] == "validation"]["selected"].isna().all()


def test_they_change_no_number_and_survive_an_interruption(workspace, tmp_path):
    asked = spec("method=turn", "tuning=lp-fft", "noise=symmetric-0.6", "methods.turn.cleansing=once")
    plain = Workspace(RunSettings(data=None, cache=workspace.setting.cache, threads=1))
    whole = run_trial(asked, workspace)
    without = run_trial(asked, plain)
    assert without.verdicts is None
    assert without.verdict_table is None
    assert [entry["test"] for entry in whole.history] == [entry["test"] for entry in without.history]
    first = Trial(asked, workspace)
    states = [decode(encode(first.state())) for _ in first.epochs()]
    again = Trial(asked, workspace)
    for _ in again.epochs(states[-2]):
        pass
    assert record_of(again).verdict_table == whole.verdict_table
