"""The real command on a few digits: search, continue, write, and refuse what makes no sense."""

import json
import shlex
import tomllib
from pathlib import Path

import given_plugins
import pytest
from small_grid import SMALL_GRID

from lnlbench.cli import cli, main
from lnlbench.errors import ExitCode
from lnlbench.records.store import Store
from lnlbench.search.outcome import curve_of

GRID = (
    SMALL_GRID.replace("train_per_class = 8", "train_per_class = 20")
    .replace("test_per_class = 4", "test_per_class = 4\nvalidation_fraction = 0.3")
    .replace("[lp]\nepochs = 2", "[lp]\nepochs = 4")
)
SPACE = ["--space", "lr=0.1,0.01,1e-4", "--space", "weight_decay=1e-4", "--space", "batch_size=32"]
OUT = Path("runs/tune-small")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tune(tmp_path, cache, monkeypatch, capsys):
    """Call `lnlbench tune` on the small grid; returns exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)
    Path("small.toml").write_text(GRID)

    def call(*options, executor="inline", grid="small.toml", tuning="lp", space=SPACE):
        given_plugins.forget()
        arguments = ["tune", "--grid", grid, "--tuning", tuning, *space, "--cache-dir", str(cache)]
        code = main([*arguments, "--cpus-per-trial", "1", "--executor", executor, *options])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def files(folder):
    return {path.name: path.read_bytes() for path in (folder / "trials").iterdir()}


def written(path=OUT / "hyperparameters.toml"):
    return tomllib.loads(path.read_text())["backbone"]["efficientnet_lite0"]


def test_the_best_configuration_is_written(tune):
    code, out, err = tune()
    assert code == ExitCode.OK, err
    records = Store.open(OUT).records()
    assert len(records) == 6  # three learning rates, two optimisers
    best = max(records, key=lambda record: max(curve_of(record).accuracies))
    assert written() == {
        "lp": {
            name: getattr(best.spec.phases[0], name)
            for name in ("optimizer", "lr", "weight_decay", "batch_size")
        }
    }
    assert f"{max(curve_of(best).accuracies):.2f}" in out
    assert "6 configurations: 6 done" in out
    assert "60 validation samples" in out
    assert f"--set hyperparameters={OUT}/hyperparameters.toml" in out.splitlines()[-1]
    assert "last " not in err  # progress shows no test accuracy


def test_the_same_command_does_nothing_the_second_time_and_continues_what_is_missing(tune):
    tune()
    before, first = files(OUT), (OUT / "hyperparameters.toml").read_bytes()
    code, _, err = tune()
    assert code == ExitCode.OK
    assert "0 trials to run; 6 done" in err
    assert files(OUT) == before
    assert (OUT / "hyperparameters.toml").read_bytes() == first
    name = sorted(before)[0]
    (OUT / "trials" / name).unlink()
    _, _, err = tune()
    assert "1 trials to run; 5 done" in err
    assert sorted(files(OUT)) == sorted(before)
    assert {key: value for key, value in files(OUT).items() if key != name} == {
        key: value for key, value in before.items() if key != name
    }


def test_a_random_search_tries_some_and_a_larger_one_keeps_them(tune):
    _, out, _ = tune("--search", "random", "--samples", "2")
    assert "2 configurations: 2 done" in out
    _, _, err = tune("--search", "random", "--samples", "3")
    assert "1 trials to run; 2 done" in err


def test_both_phases_and_several_seeds_go_into_one_file(tune):
    target = Path("mine.toml")
    fixed = ["--space", "lr=0.1,0.01", "--space", "weight_decay=0", "--space", "batch_size=32"]
    fixed += ["--space", "optimizer=sgd"]
    code, out, err = tune("--seeds", "0-1", "--write", str(target), space=fixed)
    assert code == ExitCode.OK, err
    assert "4 trials to run" in err
    assert "mean of 2 seeds" in out
    code, _, err = tune("--write", str(target), tuning="fft", space=[*fixed[2:], "--space", "lr=0.001"])
    assert code == ExitCode.OK, err
    found = written(target)
    assert list(found) == ["lp", "fft"]
    assert found["fft"] == {"optimizer": "sgd", "lr": 0.001, "weight_decay": 0.0, "batch_size": 32}


def test_a_diverging_configuration_is_a_result_and_not_a_failure(tune):
    # The first step overflows: single precision ends at 3.4e38.
    space = ["--space", "lr=1e-2,1e38", "--space", "optimizer=sgd", *SPACE[2:]]
    code, out, err = tune(space=space)
    assert code == ExitCode.OK, err
    assert "2 configurations: 1 done, 1 diverged" in out
    assert written()["lp"]["lr"] == 0.01
    code, out, _ = tune(space=["--space", "lr=1e38", *space[2:]])
    assert code == ExitCode.INCOMPLETE
    assert "none can be chosen" in out
    assert written()["lp"]["lr"] == 0.01


def test_a_dry_run_shows_the_search_and_writes_nothing(tune):
    code, out, _ = tune("--dry-run", "--seeds", "0-1", space=[])
    assert code == ExitCode.OK
    assert "space of 150 configurations" in out
    assert "300 trials: 0 done, 0 failed, 0 ended early, 300 to run" in out
    # Training and evaluation on cached features cost nothing; 240 images are extracted once.
    (row,) = [line.split() for line in out.splitlines() if line.split()[:1] == ["efficientnet_lite0"]]
    assert row[1:4] == ["0", "0", "240"]
    assert not Path("runs").exists()


def test_a_dry_run_says_what_is_missing(tune):
    code, out, _ = tune("--dry-run", "--set", "dataset=cifar100")
    assert code == ExitCode.OK
    assert "lnlbench data fetch cifar100" in out


@pytest.mark.parametrize("tuning", ["lp", "fft"])
def test_the_paper_s_search_can_be_put_on_other_data_and_backbones(tune, tuning):
    sets = ["--set", "dataset=digits", "--set", "backbone=efficientnet_lite0", "--set", "image_size=32"]
    code, out, err = tune("--dry-run", *sets, grid="paper_table7", tuning=tuning, space=[])
    assert code == ExitCode.OK, err
    epochs = {"lp": 20, "fft": 5}[tuning]
    assert (
        f"digits symmetric-0.9 efficientnet_lite0 {tuning} ce: 150 configurations of {epochs} epochs" in out
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--metric", "best"], "trained on the test set"),
        (["--space", "momentum=2"], "lp.momentum is 2; it must lie in [0, 1)"),
        (["--space", "methods.ce.x=1"], "change others with --set"),
        (["--set", "method=gce"], "Give it as --method"),
        (["--set", "lp.lr=0.3"], "Write --space lp.lr"),
        (["--set", "lp.epoch=3"], "Did you mean 'lp.epochs'"),
        (["--method", "cee"], "cee"),
        (["--set", "noise=symmetric-0.4,symmetric-0.2"], "--where noise=symmetric-0.4"),
        (["--set", "dataset=digits,npz:mine.npz"], "made on one dataset"),
        (["--search", "random"], "needs --samples"),
        (["--samples", "3"], "tries all"),
        (["--search", "random", "--samples", "7"], "only 6 configurations"),
        (["--grace", "3"], "options of --search asha"),
        (["--search", "asha"], "needs Ray's scheduler"),
        (["--write", "small.toml"], "no hyperparameter file"),
        (["--write", "nowhere/h.toml"], "there is no folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_refused_before_any_work(tune, options, says):
    code, _, err = tune(*options)
    assert (code, "Traceback" in err) == (ExitCode.USAGE, False), err
    assert says in err
    assert not Path("runs").exists()


def test_asha_compares_trials_of_one_seed_and_its_grace_fits(tune):
    assert "takes one seed" in tune("--search", "asha", "--seeds", "0-1", executor="ray")[2]
    assert "a trial has 4 epochs" in tune("--search", "asha", "--grace", "5", executor="ray")[2]


def test_asha_ends_trials_early_keeps_what_it_decided_and_continues(tune):
    options = ["--search", "asha", "--grace", "1", "--reduction", "2", "--jobs", "2"]
    code, out, err = tune(*options, executor="ray")
    assert code == ExitCode.OK, err
    (journal,) = (OUT / "searches").iterdir()
    ended = [entry for entry in map(json.loads, journal.read_text().splitlines()) if "stopped" in entry]
    records = Store.open(OUT).records()
    assert ended
    assert len(records) + len(ended) == 6
    assert f"6 configurations: {len(records)} done, {len(ended)} stopped early" in out
    # A record always has all epochs; a trial that ended early has none.
    assert {len(record.history) for record in records} == {4}
    assert not {record.trial_id for record in records} & {entry["trial"] for entry in ended}
    best = max(records, key=lambda record: max(curve_of(record).accuracies))
    assert written()["lp"]["lr"] == best.spec.phases[0].lr

    before = files(OUT), journal.read_bytes()
    assert "0 trials to run" in tune(*options, executor="ray")[2]
    assert (files(OUT), journal.read_bytes()) == before

    # As if it had been killed: a decision is lost, and the line of another is cut off.
    lines = [line for line in journal.read_text().splitlines() if json.loads(line) != ended[-1]]
    journal.write_text("\n".join([*lines, '{"trial": "…", "sto']))
    code, out, err = tune(*options, executor="ray")
    assert code == ExitCode.OK, err
    assert f"1 trials to run; {len(records)} done, {len(ended) - 1} skipped" in err
    assert "6 configurations: " in out
    assert "not run" not in out
    assert files(OUT).items() >= before[0].items()


def test_status_names_the_command_that_continues_a_search(tune, capsys):
    tune("--set", "lp.epochs=2")
    sorted((OUT / "trials").iterdir())[0].unlink()
    main(["status", "--out", str(OUT), "--format", "json"])
    report = json.loads(capsys.readouterr().out)
    assert report["grids"] == {"small-lp-search": {"done": 5, "failed": 0, "skipped": 0, "pending": 1}}
    words = shlex.split(report["next"])
    assert words[:2] == ["lnlbench", "tune"]
    command = cli.get_command(None, "tune")
    values = command.make_context("tune", words[2:]).params
    assert (values["tuning"], values["sets"], values["out"]) == ("lp", ("lp.epochs=2",), OUT)
    assert values["spaces"] == tuple(SPACE[1::2])
