"""Folders of published results: what is in them, that they are made again byte for byte, and forgeries."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from results_factory import fill, make_failure, make_plan, make_record, make_spec

import lnlbench
from lnlbench.cli import main
from lnlbench.errors import ExitCode, StoreError
from lnlbench.publishing.checking import check_published, contradictions
from lnlbench.publishing.recomputing import candidates, choose, compare_records
from lnlbench.records.frame import build_frame
from lnlbench.records.plan_file import planned_spec
from lnlbench.records.reading.folders import read_results
from lnlbench.records.reading.published_folder import ORIGIN, RECORDS, read_published
from lnlbench.records.record import Record
from lnlbench.spec import TrialSpec

FILES = {
    "README.md",
    "plans.json",
    "records.parquet",
    "origin.json",
    "table.md",
    "table.tex",
    "ranking.md",
    "report.html",
}
SELECTION: dict[str, Any] = {
    "size": 5,
    "purity": 90.0,
    "recall": 80.0,
    "auc": 0.9,
    "per_class": {"size": [2, 3], "purity": [90.0, 90.0], "recall": [80.0, 80.0]},
}


def consistent(spec: TrialSpec, accuracy: float) -> Record:
    """A record whose accuracies are those of its epochs."""
    tests = [accuracy - 10, accuracy, accuracy - 5]
    history = [
        {"phase": "lp", "epoch": at, "test": test, "selection": SELECTION} for at, test in enumerate(tests)
    ]
    metrics = {"best": accuracy, "last": accuracy - 5, "oracle": accuracy, "best_epoch": 1, "oracle_epoch": 1}
    return make_record(spec, history=history, metrics=metrics, selection=SELECTION)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    specs = [
        make_spec(method, "lp", noise, seed)
        for noise in ("symmetric-0.2", "symmetric-0.6")
        for method in ("ce", "gce", "elr", "unicon")
        for seed in (0, 1)
    ]
    records = [
        make_failure(spec) if spec.method.name == "unicon" else consistent(spec, 50.0 + number)
        for number, spec in enumerate(specs)
    ]
    plan = make_plan(specs, {specs[-1].trial_id: "too dear"}, grid="mini")
    return fill(tmp_path_factory.mktemp("runs") / "mini", records[:-1], plan).root


@pytest.fixture
def published(out: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "mini"
    assert main(["export", "--out", str(out), "--bundle", str(folder)]) == ExitCode.OK
    return folder


def disagreeing(folder: Path) -> dict[str, str]:
    return {
        finding.what: finding.text
        for finding in check_published(read_published(folder))
        if not finding.agrees
    }


def test_published_results_grow_by_another_run(tmp_path: Path) -> None:
    first, second = (make_spec(method, "lp") for method in ("ce", "gce"))
    fill(tmp_path / "a", [consistent(first, 60.0)], make_plan([first]))
    fill(tmp_path / "b", [consistent(second, 70.0)], make_plan([second]))
    folder = tmp_path / "published"
    assert main(["export", "--out", str(tmp_path / "a"), "--bundle", str(folder)]) == ExitCode.OK
    both = ["--out", str(tmp_path / "b"), "--out", str(folder)]
    assert main(["export", *both, "--bundle", str(folder)]) == ExitCode.OK
    assert list(lnlbench.load(folder)["best"]) == [70.0, 60.0]
    assert not disagreeing(folder)


def test_a_folder_has_all_and_agrees(published: Path, out: Path) -> None:
    assert {path.name for path in published.iterdir()} == FILES
    assert disagreeing(published) == {}
    bundle, results = read_published(published), read_results([out])
    assert build_frame(bundle.plans(), bundle.records).equals(results.frame())
    assert bundle.origin["records"] == len(results.entries)
    assert bundle.origin["commits"] == {"c" * 40: 12, "unknown": 3}


def test_only_classes_of_epochs_are_left_out(published: Path, out: Path) -> None:
    stored = {record.trial_id: record for record in read_published(published).records}
    for record in read_results([out]).read():
        kept = stored[record.trial_id]
        assert dataclasses.replace(kept, history=[]) == dataclasses.replace(record, history=[])
        for epoch, whole in zip(kept.history, record.history, strict=True):
            assert epoch["selection"] == {
                key: value for key, value in SELECTION.items() if key != "per_class"
            }
            assert epoch["test"] == whole["test"]


def test_the_same_runs_give_the_same_bytes_and_the_reading_stays(published: Path, out: Path) -> None:
    (published / "README.md").write_text("# What it means\n")
    before = {path.name: path.read_bytes() for path in published.iterdir()}
    assert main(["export", "--out", str(out), "--bundle", str(published)]) == ExitCode.OK
    assert {path.name: path.read_bytes() for path in published.iterdir()} == before


def test_a_part_can_be_published(out: Path, tmp_path: Path) -> None:
    folder = tmp_path / "part"
    arguments = ["export", "--out", str(out), "--bundle", str(folder), "--where", "method=ce,gce"]
    assert main(arguments) == ExitCode.OK
    assert disagreeing(folder) == {}
    assert len(read_published(folder).records) == 8


def test_a_part_without_the_parameters_that_the_table_lists_can_be_published(tmp_path: Path) -> None:
    """The grid's axes are parameters of `turn` and `select_then_tune`, which may not have been run."""
    plan = lnlbench.plan(
        "cifar100_fft", where={"tuning": "lp", "method": ["ce", "gce"]}, seeds="0-1"
    ).to_dict()
    records = [consistent(planned_spec(trial), 40.0 + at) for at, trial in enumerate(plan["trials"])]
    out, folder = fill(tmp_path / "runs", records, plan).root, tmp_path / "part"
    assert main(["export", "--out", str(out), "--bundle", str(folder)]) == ExitCode.OK
    assert disagreeing(folder) == {}
    assert main(["rank", "--out", str(folder)]) == ExitCode.OK


def test_the_grid_is_copied_if_it_is_what_was_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = lnlbench.plan("quickstart", where={"tuning": "lp", "method": "ce"}, seeds="0").to_dict()
    records = [consistent(planned_spec(trial), 50.0) for trial in plan["trials"]]
    out = fill(tmp_path / "runs", records, plan).root
    assert main(["export", "--out", str(out), "--bundle", str(tmp_path / "same")]) == ExitCode.OK
    assert (tmp_path / "same" / "quickstart.toml").read_text().startswith("#")
    plan["source"]["sha256"] = "0" * 64
    out = fill(tmp_path / "runs", records, plan).root
    assert main(["export", "--out", str(out), "--bundle", str(tmp_path / "changed")]) == ExitCode.OK
    assert "has changed since" in capsys.readouterr().err
    assert not (tmp_path / "changed" / "quickstart.toml").exists()


def test_a_published_grid_stays_when_the_packaged_one_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = lnlbench.plan("quickstart", where={"tuning": "lp", "method": "ce"}, seeds="0").to_dict()
    records = [consistent(planned_spec(trial), 50.0) for trial in plan["trials"]]
    out, published = fill(tmp_path / "runs", records, plan).root, tmp_path / "published"
    assert main(["export", "--out", str(out), "--bundle", str(published)]) == ExitCode.OK
    before = read_published(published).origin
    changed = tmp_path / "quickstart.toml"
    changed.write_text("# another one\n")
    monkeypatch.setattr("lnlbench.publishing.bundle.find_grid", lambda name: changed)
    assert main(["export", "--out", str(published), "--bundle", str(published)]) == ExitCode.OK
    assert "has changed since" not in capsys.readouterr().err
    assert read_published(published).origin == before


# Forgeries


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None], row: int = 0) -> None:
    """Change a row of the records, and the sums, as a careful forger would."""
    table = pq.read_table(folder / RECORDS)
    rows = table.to_pylist()
    change(rows[row])
    pq.write_table(pa.Table.from_pylist(rows, table.schema), folder / RECORDS)
    origin = json.loads((folder / ORIGIN).read_text())
    origin["sha256"][RECORDS] = hashlib.sha256((folder / RECORDS).read_bytes()).hexdigest()
    (folder / ORIGIN).write_text(json.dumps(origin))


def test_a_changed_column_is_noticed(published: Path) -> None:
    rewrite(published, lambda row: row.update(best=99.0))
    assert "the column best is not what its record says" in disagreeing(published)[RECORDS]


def test_a_changed_accuracy_is_noticed(published: Path) -> None:
    def change(row: dict[str, Any]) -> None:
        record = json.loads(row["record_rest"])
        record["metrics"]["best"] = row["best"] = 99.0
        row["record_rest"] = json.dumps(record)

    rewrite(published, change)
    found = disagreeing(published)
    assert "best is 99.0, and 50.0 among its epochs" in found[RECORDS]
    assert {"table.md", "table.tex", "report.html", "ranking.md"} <= found.keys()


def test_a_changed_table_is_noticed(published: Path) -> None:
    table = published / "table.md"
    table.write_text(table.read_text().replace("50.50", "90.50"))
    assert "90.50" in disagreeing(published)["table.md"]
    table.unlink()
    assert disagreeing(published)["table.md"] == "is missing"


def test_a_changed_plan_is_noticed(published: Path) -> None:
    plans = published / "plans.json"
    plans.write_text(plans.read_text().replace("too dear", "too good"))
    assert "plans.json" in disagreeing(published)["files"]


def test_a_changed_origin_is_noticed(published: Path) -> None:
    origin = published / ORIGIN
    origin.write_text(origin.read_text().replace("c" * 40, "d" * 40))
    assert "are not those of the records" in disagreeing(published)[ORIGIN]


def test_records_that_cannot_be_read_are_named(published: Path) -> None:
    (published / RECORDS).write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="damaged"):
        read_published(published)


def test_a_record_agrees_with_its_epochs() -> None:
    record = consistent(make_spec("ce", "lp"), 70.0)
    assert list(contradictions(record)) == []
    wrong = dataclasses.replace(record, metrics={**record.metrics, "last": 66.0})
    assert list(contradictions(wrong)) == [f"{record.trial_id}: last is 66.0, and 65.0 among its epochs"]


# The command


def test_the_command_says_what_agrees(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--results", str(published)]) == ExitCode.OK
    assert capsys.readouterr().out.endswith("All of it agrees.\n")
    (published / "table.tex").write_text("nothing")
    assert main(["verify", "--results", str(published), "--format", "json"]) == ExitCode.MISMATCH
    found = json.loads(capsys.readouterr().out)
    assert [each["what"] for each in found["findings"] if not each["agrees"]] == ["table.tex"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--results", "nowhere"], "no folder of published results"),
        (["--results", "nowhere", "--grid", "paper_table2"], "Drop --grid"),
        ([], "--results FOLDER"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["verify", *arguments]) == ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_records_without_a_plan_are_not_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = fill(tmp_path / "out", [consistent(make_spec("ce", "lp"), 50.0)]).root
    assert main(["export", "--out", str(out), "--bundle", str(tmp_path / "b")]) == ExitCode.USAGE
    assert "in no plan" in capsys.readouterr().err


# Running again


def test_the_draw_is_repeatable_and_of_linear_probing_on_a_cpu(published: Path) -> None:
    bundle = read_published(published)
    assert len(candidates(bundle)) == 12
    assert choose(bundle, 5, 3) == choose(bundle, 5, 3)
    assert choose(bundle, 5, 3) != choose(bundle, 5, 4)
    assert len(choose(bundle, 99, 0)) == 12
    fft, gpu = make_spec("ce", "fft"), make_spec("gce", "lp")
    others = [consistent(fft, 50.0), dataclasses.replace(consistent(gpu, 50.0), execution={"device": "cuda"})]
    assert candidates(dataclasses.replace(bundle, records=others)) == []


def test_bits_count_where_nothing_explains_a_difference() -> None:
    stored = consistent(make_spec("ce", "lp"), 70.0)
    slower = [{**epoch, "train_s": 99.0} for epoch in stored.history]
    assert compare_records(stored, dataclasses.replace(stored, history=slower, times={"wall_s": 99.0})).same
    again = consistent(make_spec("ce", "lp"), 70.001)
    found = compare_records(stored, again)
    assert (found.same, found.agrees) == (False, False)
    assert "accuracy by 0.0010 points, on the same machine" in found.text


def test_another_machine_has_a_tolerance_that_is_told() -> None:
    stored = dataclasses.replace(consistent(make_spec("ce", "lp"), 70.0), environment={"cpu": "old"})
    for accuracy, agrees in ((70.5, True), (71.5, False)):
        again = dataclasses.replace(consistent(make_spec("ce", "lp"), accuracy), environment={"cpu": "new"})
        found = compare_records(stored, again)
        assert found.agrees is agrees
        assert "tolerance of 1: cpu old there, new here" in found.text


def test_a_trial_that_fails_does_not_agree() -> None:
    spec = make_spec("ce", "lp")
    found = compare_records(consistent(spec, 70.0), make_failure(spec))
    assert not found.agrees
    assert "The loss is not finite" in found.text
