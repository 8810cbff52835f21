"""How many trials run at a time, on what, and in which order."""

import dataclasses

import pytest
import torch

from lnlbench.errors import UsageError
from lnlbench.grids.plan import plan
from lnlbench.running import job as job_module
from lnlbench.running.job import make_job
from lnlbench.running.seconds import longest_first


@pytest.fixture
def gpus(monkeypatch):
    """A function that makes PyTorch speak of some GPUs, on a machine of 32 cores."""

    def pretend(number):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
        monkeypatch.setattr(job_module, "available_cores", lambda: 32)

    return pretend


@pytest.mark.parametrize(
    ("number", "options", "jobs", "threads", "share"),
    [
        (0, {}, 1, 32, 0),
        (1, {}, 1, 32, 1),
        (8, {}, 8, 4, 1),
        (8, {"jobs": 2}, 2, 16, 1),
        (2, {"gpus_per_trial": 0.25}, 8, 4, 0.25),
        (8, {"gpus_per_trial": 2}, 4, 8, 2),
        (8, {"gpus_per_trial": 0}, 1, 32, 0),
        (8, {"executor": "inline"}, 1, 32, 1),
        (8, {"ray_address": "auto"}, 1, 32, 1),
        (100, {}, 32, 1, 1),
    ],
)
def test_as_many_trials_as_gpus(gpus, tmp_path, number, options, jobs, threads, share):
    gpus(number)
    made = make_job(tmp_path, **options)
    assert (made.resources.jobs, made.settings.jobs) == (jobs, jobs)
    assert (made.settings.threads, made.resources.gpus) == (threads, share)


def test_more_gpus_than_a_trial_can_use_are_said(gpus, tmp_path):
    gpus(8)
    (advice,) = make_job(tmp_path, gpus_per_trial=2).advice()
    assert advice == "a trial computes on one GPU: --gpus-per-trial 2 leaves the others of it idle."
    assert make_job(tmp_path).advice() == []
    (advice,) = make_job(tmp_path, jobs=16).advice()
    assert "8 run at a time. Use --jobs 8, or let them share: --gpus-per-trial 0.5." in advice


def test_a_share_for_probing_is_for_trials_on_cached_features_alone(gpus, tmp_path):
    gpus(2)
    made = make_job(tmp_path, gpus_per_probing=0.125)
    assert (made.resources.jobs, made.resources.gpus) == (16, 1)
    assert made.advice() == []
    (advice,) = make_job(tmp_path, gpus_per_probing=0.5, jobs=16).advice()
    assert "4 run at a time. Use --jobs 4, or let them share: --gpus-per-trial 0.12." in advice

    def share(*sets):
        planned = plan("quickstart", sets=["method=ce", "noise=none", *sets], seeds="0").planned
        return [made.resources.gpus_of(each.spec) for each in planned]

    assert share("tuning=lp") == [0.125]
    assert share("tuning=lp", "lp.cache=false") == share("tuning=fft") == share("tuning=lp-fft") == [1]
    assert share("tuning=lp", "dataset=features:any.npz") == [0.125]
    assert make_job(tmp_path).resources.gpus_of(planned_spec()) == 1


def planned_spec():
    return plan("quickstart", sets=["method=ce", "tuning=lp", "noise=none"], seeds="0").planned[0].spec


@pytest.mark.parametrize(
    ("number", "options"),
    [
        (0, {"gpus_per_probing": 0.5}),
        (2, {"gpus_per_probing": 2, "gpus_per_trial": 2}),
        (2, {"gpus_per_probing": 0.5, "gpus_per_trial": 0.25}),
        (2, {"gpus_per_probing": 0}),
    ],
)
def test_what_is_no_share_of_a_gpu_is_refused(gpus, tmp_path, number, options):
    gpus(number)
    with pytest.raises(UsageError, match="--gpus-per-probing"):
        make_job(tmp_path, **options)


@pytest.mark.parametrize(
    ("number", "options", "jobs", "threads"),
    [
        (0, {"processes_per_trial": 2}, 1, 16),
        (8, {"processes_per_trial": 2}, 4, 4),
        (8, {"processes_per_trial": 8, "executor": "inline"}, 1, 4),
        (8, {"processes_per_trial": 2, "gpus_per_trial": 0}, 1, 16),
        (0, {"processes_per_trial": 64, "ray_address": "auto", "gpus_per_trial": 1}, 1, 1),
    ],
)
def test_processes_of_a_trial_share_cores_and_gpus(gpus, tmp_path, number, options, jobs, threads):
    gpus(number)
    made = make_job(tmp_path, **options)
    assert (made.resources.jobs, made.settings.threads) == (jobs, threads)
    assert made.settings.processes == options["processes_per_trial"]
    assert made.advice() == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"processes_per_trial": 0}, "at least 1"),
        ({"processes_per_trial": 2, "gpus_per_trial": 0.5}, "is a share of one"),
        ({"processes_per_trial": 4}, "do not fit on this machine, which has 2"),
        ({"processes_per_trial": 2, "gpus_per_trial": 2}, "do not fit on this machine, which has 2"),
    ],
)
def test_processes_that_would_wait_for_ever_are_refused(gpus, tmp_path, options, said):
    gpus(2)
    with pytest.raises(UsageError, match=said):
        make_job(tmp_path, **options)


def test_processes_that_share_too_few_cores_are_said(gpus, tmp_path):
    gpus(0)
    (advice,) = make_job(tmp_path, processes_per_trial=4, cpus_per_trial=16).advice()
    assert advice.startswith("1 jobs of 4 processes of 16 threads share 32 cores")


def test_an_inline_run_takes_one_trial_at_a_time(tmp_path):
    with pytest.raises(UsageError, match="one trial at a time"):
        make_job(tmp_path, executor="inline", jobs=2)
    assert make_job(tmp_path, executor="inline", jobs=1).resources.jobs == 1


def test_the_longest_trial_comes_first():
    (planned,) = plan("quickstart", sets=["method=ce", "tuning=lp-fft", "noise=none"], seeds="0").planned
    specs = [dataclasses.replace(planned.spec, seed=seed) for seed in range(4)]
    lp, fft = (phase.epochs for phase in specs[0].phases)
    # Seconds of an epoch of each phase; the second has no speed yet.
    each = [(1.0, 2.0), (1.0, None), (3.0, 2.0), (1.0, 2.0)]
    assert 3 * lp + 2 * fft > lp + 2 * fft
    found = longest_first(specs, dict(zip(specs, each, strict=True)))
    assert [spec.seed for spec in found] == [1, 2, 0, 3]  # equals stay in the plan's order
