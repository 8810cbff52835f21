from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from results_factory import fill, make_failure, make_plan, make_record, make_spec, mini

from lnlbench.cli import export, status, table
from lnlbench.console.options import resolve_out
from lnlbench.errors import ExitCode, NothingSelectedError, StoreError, UsageError
from lnlbench.plugins import registry
from lnlbench.records.frame import load_frame
from lnlbench.records.metric_columns import schema


def run(module: object, *arguments: str | Path) -> Result:
    return CliRunner().invoke(module.command, [str(argument) for argument in arguments])  # type: ignore[attr-defined]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return mini(tmp_path / "out").root


@pytest.fixture
def complete(tmp_path: Path) -> Path:
    """A folder in which everything is done."""
    records = [make_record(make_spec(method)) for method in ("ce", "gce")]
    return fill(tmp_path / "complete", records, make_plan([record.spec for record in records])).root


# Where results are


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_out_is_taken_as_it_is(here: Path) -> None:
    assert resolve_out(Path("x"), "mini") == Path("x")


def test_a_grid_means_its_folder_in_runs(here: Path) -> None:
    assert resolve_out(None, "mini") == Path("runs/mini")
    assert resolve_out(None, "grids/mini.toml") == Path("runs/mini")


def test_the_only_results_need_no_name(here: Path) -> None:
    mini(here / "runs" / "mini")
    (here / "runs" / "other").mkdir()
    assert resolve_out(None, None) == Path("runs/mini")


def test_several_results_are_listed(here: Path) -> None:
    for name in ("b", "a"):
        fill(here / "runs" / name, [])
    with pytest.raises(UsageError, match="runs/a, runs/b"):
        resolve_out(None, None)


def test_no_results_are_an_error(here: Path) -> None:
    with pytest.raises(UsageError, match="no results"):
        resolve_out(None, None)


@pytest.mark.parametrize("module", [status, table, export])
def test_a_folder_without_results_is_an_error(tmp_path: Path, module: object) -> None:
    assert isinstance(run(module, "--out", tmp_path / "nowhere").exception, StoreError)


# status


def test_status_counts_and_explains(out: Path) -> None:
    report = json.loads(run(status, "--out", out, "--format", "json").stdout)
    assert report["grids"] == {"mini": {"done": 15, "failed": 2, "skipped": 2, "pending": 1}}
    assert [entry["reason"] for entry in report["failures"]] == ["TrialError: The loss is not finite."] * 2
    assert report["failures"][0]["trial"].endswith("lp gce seed 0")
    assert {entry["reason"] for entry in report["skipped"]} == {"left out for its cost"}
    assert report["stale"] == report["damaged"] == []
    assert report["next"] == f"lnlbench run --grid mini --out {out}"


def test_status_prints_the_same_and_ends_with_the_next_command(out: Path) -> None:
    result = run(status, "--out", out)
    assert result.exit_code == ExitCode.OK
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["grid", "done", "failed", "skipped", "pending"]
    assert lines[1].split() == ["mini", "15", "2", "2", "1"]
    assert "The loss is not finite." in result.stdout
    assert lines[-1] == f"Next: lnlbench run --grid mini --out {out}"


def test_status_recommends_to_repeat_what_failed(tmp_path: Path) -> None:
    record = make_failure(make_spec())
    store = fill(tmp_path / "an out", [record], make_plan([record.spec]))
    expected = f"Next: lnlbench run --grid mini --out '{store.root}' --retry failed"
    assert run(status, "--out", store.root).stdout.splitlines()[-1] == expected


def test_status_recommends_the_run_with_its_changes(tmp_path: Path) -> None:
    plan = make_plan([make_spec()])
    plan["source"] = {"overrides": ["--set dataset=npz:my pets.npz", "--seeds 0-4"]}
    store = fill(tmp_path / "out", [], plan)
    changes = "--set 'dataset=npz:my pets.npz' --seeds 0-4"
    expected = f"Next: lnlbench run --grid mini {changes} --out {store.root}"
    assert run(status, "--out", store.root).stdout.splitlines()[-1] == expected


def test_status_recommends_to_repeat_what_is_stale(tmp_path: Path) -> None:
    records = [
        make_record(
            make_spec("mine", seed=seed), finished=f"2025-01-0{seed + 1}", plugin={"fingerprint": code * 64}
        )
        for seed, code in enumerate("ab")
    ]
    store = fill(tmp_path / "out", records, make_plan([record.spec for record in records]))
    report = json.loads(run(status, "--out", store.root, "--format", "json").stdout)
    assert [entry["trial_id"] for entry in report["stale"]] == [records[0].trial_id]
    assert report["next"].endswith("--retry stale")


def test_all_commands_compare_with_the_method_that_is_installed(tmp_path: Path) -> None:
    records = [
        make_record(make_spec(), plugin={"fingerprint": "2:" + "a" * 64}),
        make_record(make_spec("gce"), plugin={"fingerprint": "b" * 64}),
        make_record(make_spec("elr")),
    ]
    store = fill(tmp_path / "out", records, make_plan([record.spec for record in records]))
    now = registry.methods().fingerprint("ce")["fingerprint"].removeprefix("2:")[:12]
    expected = {
        records[0].trial_id: f"method changed (ce): aaaaaaaaaaaa, now {now}",
        records[1].trial_id: "made by an earlier lnlbench, which did not see all of the code of 'gce'",
    }
    report = json.loads(run(status, "--out", store.root, "--format", "json").stdout)
    assert {entry["trial_id"]: entry["reason"] for entry in report["stale"]} == expected
    frame = load_frame(store.root).set_index("trial_id")["stale"].dropna()
    assert frame.to_dict() == expected
    shown = run(table, "--out", store.root)
    listed = "; ".join(expected[record.trial_id] for record in records[:2])
    assert shown.stderr == f"Warning: 2 records are stale: {listed}. Run them again with --retry stale.\n"
    assert "stale" not in shown.stdout  # a table is the same wherever it is made


def test_status_recommends_the_table_when_all_is_done(complete: Path) -> None:
    last = run(status, "--out", complete).stdout.splitlines()[-1]
    assert last == f"Next: lnlbench table --out {complete}"


def test_status_names_damaged_files(complete: Path) -> None:
    path = next((complete / "trials").iterdir())
    path.write_bytes(b"")
    result = run(status, "--out", complete)
    assert f"{path}: it is empty" in result.stdout
    assert result.stdout.splitlines()[-1] == f"Next: lnlbench run --grid mini --out {complete}"


def test_status_counts_records_of_no_plan(tmp_path: Path) -> None:
    store = fill(tmp_path / "out", [make_record(make_spec())])
    report = json.loads(run(status, "--out", store.root, "--format", "json").stdout)
    assert report["grids"] == {"": {"done": 1, "failed": 0, "skipped": 0, "pending": 0}}


def test_status_of_one_grid_among_several(out: Path) -> None:
    fill(out, [], make_plan([make_spec(seed=9)], grid="second"))
    result = run(status, "--out", out, "--grid", "second", "--format", "json")
    assert list(json.loads(result.stdout)["grids"]) == ["second"]
    assert "Did you mean 'mini'" in str(run(status, "--out", out, "--grid", "mimi").exception)


def test_status_imports_nothing_heavy(out: Path) -> None:
    code = (
        "import sys\nfrom lnlbench.cli.status import command\n"
        f"command(['--out', {str(out)!r}], standalone_mode=False)\n"
        "print(sorted({'torch', 'ray', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# table


def test_table_prints_results_and_fails_while_incomplete(out: Path) -> None:
    result = run(table, "--out", out)
    assert result.exit_code == ExitCode.INCOMPLETE
    assert "*90.80* ± 0.28 / _89.90_ ± 0.14" in result.stdout
    assert "failed: TrialError: The loss is not finite." in result.stdout
    assert "A small grid." in result.stdout


def test_table_succeeds_when_complete(complete: Path) -> None:
    assert run(table, "--out", complete).exit_code == ExitCode.OK


def test_a_skipped_cell_is_not_missing(out: Path) -> None:
    assert run(table, "--out", out, "--where", "method=turn").exit_code == ExitCode.OK


def test_table_takes_the_plans_layout(tmp_path: Path) -> None:
    layout = {"rows": ["method", "tuning"], "metric": "last", "extra": [], "caption": "My caption"}
    store = mini(tmp_path / "out", table=layout)
    text = run(table, "--out", store.root).stdout
    assert text.splitlines()[0].split()[:2] == ["Method", "Tuning"]
    assert "train" not in text
    assert "My caption." in text


def test_the_metric_can_be_chosen(out: Path) -> None:
    text = run(table, "--out", out, "--metric", "oracle").stdout
    assert text.splitlines()[1].split() == ["oracle", "oracle"]


def test_table_writes_a_file(complete: Path, tmp_path: Path) -> None:
    target = tmp_path / "table.tex"
    result = run(table, "--out", complete, "--format", "latex", "--output", target)
    assert result.stdout == ""
    assert r"\toprule" in target.read_text()


def test_a_file_that_cannot_be_written_is_an_error(complete: Path, tmp_path: Path) -> None:
    error = run(table, "--out", complete, "--output", tmp_path / "no" / "table.txt").exception
    assert isinstance(error, UsageError)


def test_an_empty_selection_has_its_own_exit_code(out: Path) -> None:
    error = run(table, "--out", out, "--where", "method=nothing").exception
    assert isinstance(error, NothingSelectedError)
    assert error.exit_code == 5


def test_table_warns_of_damaged_files(complete: Path) -> None:
    next((complete / "trials").iterdir()).write_bytes(b"{")
    result = run(table, "--out", complete)
    assert result.exit_code == ExitCode.INCOMPLETE
    assert "truncated" in result.stderr
    assert "pending" in result.stdout


def test_several_grids_need_a_choice(out: Path) -> None:
    fill(out, [], make_plan([make_spec(seed=9)], grid="second"))
    assert "mini, second" in str(run(table, "--out", out).exception)
    assert "pending" in run(table, "--out", out, "--grid", "second").stdout
    assert isinstance(run(table, "--out", out, "--grid", "third").exception, UsageError)


def test_records_of_no_plan_make_a_table_too(tmp_path: Path) -> None:
    store = fill(tmp_path / "out", [make_record(make_spec())])
    assert "80.00 / 70.00" in run(table, "--out", store.root).stdout


# export


def test_export_has_a_row_per_trial(out: Path) -> None:
    frame = pd.read_csv(io.StringIO(run(export, "--out", out).stdout))
    assert list(frame.columns) == list(schema())
    assert frame["status"].value_counts().to_dict() == {"done": 15, "failed": 2, "skipped": 2, "pending": 1}


def test_parquet_gives_the_frame_back(out: Path, tmp_path: Path) -> None:
    target = tmp_path / "trials.parquet"
    assert run(export, "--out", out, "--format", "parquet", "--output", target).exit_code == ExitCode.OK
    pd.testing.assert_frame_equal(pd.read_parquet(target), load_frame(out))


def test_csv_goes_to_a_file_too(out: Path, tmp_path: Path) -> None:
    target = tmp_path / "trials.csv"
    run(export, "--out", out, "--where", "method=ce", "--output", target)
    assert len(pd.read_csv(target)) == 8


def test_parquet_does_not_go_to_the_terminal(out: Path) -> None:
    assert isinstance(run(export, "--out", out, "--format", "parquet").exception, UsageError)
