"""Several output folders read as one."""

from __future__ import annotations

from pathlib import Path

import pytest
from results_factory import fill, make_failure, make_plan, make_record, make_spec, mini

import lnlbench
from lnlbench.cli import main
from lnlbench.errors import ExitCode, UsageError
from lnlbench.records.frame import DamagedRecordWarning, load_frame
from lnlbench.records.reading.folders import read_results

CE, GCE = make_spec("ce", "lp"), make_spec("gce", "lp")


def test_one_folder_is_what_it_was(tmp_path: Path) -> None:
    out = mini(tmp_path / "out").root
    assert (
        read_results([out, out])
        .frame()
        .equals(load_frame(out).assign(stale=None).astype({"stale": "string"}))
    )
    assert lnlbench.load(out).equals(load_frame(out))
    assert lnlbench.load([out]).equals(load_frame(out))


def test_plans_of_one_grid_are_joined(tmp_path: Path) -> None:
    fill(tmp_path / "a", [make_record(CE)], make_plan([CE], table={"columns": ["rate"]}))
    fill(tmp_path / "b", [make_record(GCE)], make_plan([CE, GCE]))
    results = read_results([tmp_path / "a", tmp_path / "b"])
    assert [trial["trial_id"] for trial in results.plans["mini"]["trials"]] == [CE.trial_id, GCE.trial_id]
    assert results.plans["mini"]["table"] == {"columns": ["rate"]}
    assert list(results.frame()["method"]) == ["ce", "gce"]


def test_of_a_trial_in_several_folders_the_newest_that_is_done_counts(tmp_path: Path) -> None:
    fill(tmp_path / "a", [make_record(CE, 1.0, finished="2025-01-02"), make_record(GCE, 1.0)])
    fill(tmp_path / "b", [make_record(CE, 2.0, finished="2025-01-01"), make_failure(GCE)])
    for order in ("ab", "ba"):
        records = read_results(tmp_path / name for name in order).read()
        assert {record.spec.method.name: record.metrics["best"] for record in records} == {
            "ce": 1.0,
            "gce": 1.0,
        }


def test_grids_of_several_folders_are_one(tmp_path: Path) -> None:
    fill(tmp_path / "a", [make_record(CE)], make_plan([CE], grid="first"))
    fill(tmp_path / "b", [make_record(GCE)], make_plan([GCE], grid="second"))
    results = read_results([tmp_path / "a", tmp_path / "b"])
    assert results.choose(None) == ["first", "second"]
    assert results.choose("second") == ["second"]
    assert [trial["trial_id"] for trial in results.plan(["first", "second"])["trials"]] == [
        CE.trial_id,
        GCE.trial_id,
    ]
    with pytest.raises(UsageError, match=r"no grid 'secnd'.*second"):
        results.choose("secnd")
    fill(tmp_path / "a", [], make_plan([GCE], grid="second"))
    with pytest.raises(UsageError, match="several grids"):
        read_results([tmp_path / "a"]).choose(None)


def test_damage_in_any_folder_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "a", [make_record(CE)])
    broken = fill(tmp_path / "b", [make_record(GCE)])
    (broken.root / "trials" / f"{GCE.trial_id}.json").write_text("{")
    with pytest.warns(DamagedRecordWarning, match=GCE.trial_id):
        assert len(lnlbench.load([tmp_path / "a", tmp_path / "b"])) == 1


def test_verbs_take_several_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, spec in (("a", CE), ("b", GCE)):
        fill(tmp_path / name, [make_record(spec)], make_plan([spec], grid=name))
    both = ["--out", str(tmp_path / "a"), "--out", str(tmp_path / "b")]
    assert main(["table", *both, "--format", "markdown"]) == ExitCode.OK
    printed = capsys.readouterr().out
    assert "| LP | CE |" in printed
    assert "GCE" in printed
    assert main(["export", *both]) == ExitCode.OK
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["rank", *both]) == ExitCode.OK
    assert "LP GCE" in capsys.readouterr().out


def test_a_published_folder_is_read_as_the_run_it_is_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, published = mini(tmp_path / "out").root, tmp_path / "published"
    assert main(["export", "--out", str(out), "--bundle", str(published)]) == ExitCode.OK
    assert lnlbench.load(published).equals(lnlbench.load(out))
    assert [record.metrics for record in read_results([published]).read()] == [
        record.metrics for record in read_results([out]).read()
    ]
    for verb in (["table"], ["table", "--metric", "last"], ["rank"], ["export"], ["report"]):
        capsys.readouterr()
        texts = []
        for folder in (out, published):
            target = [] if verb[0] != "report" else ["--output", str(tmp_path / "report.html")]
            code = main([*verb, "--out", str(folder), *target])
            shown = (tmp_path / "report.html").read_bytes() if target else capsys.readouterr().out
            texts.append((code, shown))
        assert texts[0] == texts[1], verb


def test_no_run_writes_into_published_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published = tmp_path / "published"
    mini(tmp_path / "out")
    assert main(["export", "--out", str(tmp_path / "out"), "--bundle", str(published)]) == ExitCode.OK
    before = {path.name: path.read_bytes() for path in published.iterdir()}
    assert main(["run", "--grid", "quickstart", "--out", str(published)]) == ExitCode.USAGE
    assert "holds published results" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in published.iterdir()} == before
    (published / "plans.json").unlink()
    assert main(["table", "--out", str(published)]) == ExitCode.USAGE
    assert "plans.json cannot be read" in capsys.readouterr().err
