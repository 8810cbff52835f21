"""Who sees which labels, on data that have true labels beside the given ones."""

import numpy as np
import pytest

import lnlbench
from lnlbench.trials.problem import prepare_problem
from lnlbench.trials.workspace import RunSettings, Workspace

CLEAN = np.tile(np.arange(4), 30)
GIVEN = np.where(np.arange(120) % 5 == 0, (CLEAN + 1) % 4, CLEAN)


@pytest.fixture
def problem(tmp_path):
    def prepare(noise, clean=CLEAN, **options):
        arrays = {f"x_{part}": np.random.default_rng(0).normal(size=(120, 3)) for part in ("train", "test")}
        np.savez(tmp_path / "f.npz", **arrays, y_train=GIVEN, y_test=CLEAN, clean_train=clean)
        workspace = Workspace(RunSettings(data=None, cache=tmp_path / "cache"))
        return prepare_problem(spec_of(tmp_path, noise, options), workspace)

    return prepare


def spec_of(folder, noise, options):
    grid = folder / "g.toml"
    lines = "\n".join(f'{name} = "{value}"' for name, value in options.items())
    grid.write_text(
        f'schema = 1\ntitle = "t"\nseeds = [0]\ndataset = "features:{folder}/f.npz"\n'
        f'backbone = "efficientnet_lite0"\nnoise = "{noise}"\n'
        f'[[rows]]\ntuning = "lp"\nmethod = "ce"\n[dataset_options]\n{lines}\n[lp]\nepochs = 1\n'
    )
    (planned,) = lnlbench.plan(grid).planned
    return planned.spec


def test_real_noise_has_a_truth_where_the_data_have_one(problem):
    made = problem("real")
    rows = made.train_rows.numpy()
    assert np.array_equal(made.train_labels.numpy(), GIVEN[rows])
    assert np.array_equal(made.true_labels, CLEAN[rows])
    assert np.array_equal(made.validation_labels.numpy(), GIVEN[made.validation_rows.numpy()])
    assert made.noise.realised_rate == 0.2


def test_other_noise_starts_from_the_truth(problem):
    none = problem("none")
    assert np.array_equal(none.train_labels.numpy(), CLEAN[none.train_rows.numpy()])
    assert none.noise.realised_rate == 0.0
    drawn = problem("symmetric-0.5")
    assert np.array_equal(drawn.true_labels, CLEAN[drawn.train_rows.numpy()])
    assert np.array_equal(drawn.train_rows, none.train_rows)
    clean = problem("real", validation_labels="clean")
    assert np.array_equal(clean.validation_labels.numpy(), CLEAN[clean.validation_rows.numpy()])


def test_a_truth_of_some_is_no_start_for_noise(problem):
    clean = np.where(np.arange(120) < 60, CLEAN, -1)
    drawn = problem("none", clean)
    assert np.array_equal(drawn.true_labels, GIVEN[drawn.train_rows.numpy()])
    real = problem("real", clean)
    assert np.array_equal(real.true_labels, clean[real.train_rows.numpy()])
    assert real.noise.realised_rate == 0.2
    assert problem("real", np.full(120, -1)).true_labels is None
