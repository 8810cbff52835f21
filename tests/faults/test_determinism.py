"""The same spec gives the same numbers, bit for bit on one machine and thread count."""

import pandas as pd
import pytest
from killable import EVERY_METHOD, Run

from lnlbench.errors import ExitCode


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def reference(cache, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("reference"), EVERY_METHOD, cache, ["--executor", "inline"])
    done = run.complete(timeout=900)
    assert done.returncode == ExitCode.OK, done.stderr
    return run


def curves(run):
    """All losses, accuracies and selections of all epochs."""
    return {
        trial: [
            {name: value for name, value in entry.items() if name not in ("train_s", "eval_s")}
            for entry in record.history
        ]
        for trial, record in run.records().items()
    }


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "options",
    [["--jobs", "1"], ["--jobs", "2"], ["--jobs", "2", "--cold"], ["--reversed"]],
    ids=["ray", "two jobs", "cold cache", "another order"],
)
def test_how_it_is_run_changes_no_number(reference, cache, tmp_path, options):
    grid = EVERY_METHOD
    if "--reversed" in options:
        grid = grid.replace('["fft", "lp-fft"]', '["lp-fft", "fft"]')
        grid = grid.replace(
            '"ce", "gce", "elr", "elr_plus", "dividemix", "unicon"',
            '"unicon", "dividemix", "elr_plus", "elr", "gce", "ce"',
        )
    # Calibration chooses the memory layout by time, so it stays; features are extracted anew.
    folder = tmp_path / "cache" if "--cold" in options else cache
    if "--cold" in options:
        (folder / "calibration").parent.mkdir()
        (folder / "calibration").symlink_to(cache / "calibration")
    run = Run(
        tmp_path, grid, folder, [option for option in options if option not in ("--cold", "--reversed")]
    )
    done = run.complete(timeout=900)
    assert done.returncode == ExitCode.OK, done.stderr
    assert curves(run) == curves(reference)
    left = run.export().drop(columns=["shared_device"])
    pd.testing.assert_frame_equal(left, reference.export().drop(columns=["shared_device"]))


def test_the_record_says_what_numbers_depend_on(reference):
    for record in reference.records().values():
        execution = record.execution
        assert execution["threads"] == 1
        assert execution["precision"] == "fp32"
        assert execution["layout"] in ("contiguous", "channels_last")
        assert execution["device"] == "cpu"
        assert {"torch", "numpy"} <= record.environment["versions"].keys()
