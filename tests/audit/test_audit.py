"""``lnlbench audit`` from a folder of images, or features, to verdicts, a page and a cleaned manifest."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
from mislabelled import mislabelled_folder
from sklearn.metrics import average_precision_score, roc_auc_score
from tiny_models import save

from lnlbench.audit.gallery import COLOURS
from lnlbench.cli import main
from lnlbench.cli.audit import command
from lnlbench.detectors.detect import SLOW
from lnlbench.errors import ExitCode

SMALL = ["--set", "image_size=32"]
DETECTORS = ["knn", "simifeat", "wann", "confident", "small_loss"]


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with ``pets``, its audit in ``out``, and the files that lie wrong."""
    folder = tmp_path_factory.mktemp("audited")
    moved = mislabelled_folder(folder / "pets")
    arguments = ["audit", f"imagefolder:{folder}/pets", *SMALL, "--out", str(folder / "out")]
    assert main([*arguments, "--cache-dir", str(folder / "cache")]) == ExitCode.OK
    return folder, moved


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)
    monkeypatch.setenv("LNLBENCH_CACHE", str(tmp_path / "cache"))


def test_moved_files_are_found_by_name(audited: tuple[Path, dict[str, str]]) -> None:
    folder, moved = audited
    frame = pd.read_parquet(folder / "out" / "verdicts.parquet")
    suspects = frame[frame["suspected"]].set_index("file")["suggested"]
    assert moved.items() <= suspects.to_dict().items()
    assert len(suspects) <= 2 * len(moved)
    worst = frame.sort_values("score").head(len(moved))
    assert set(worst["file"]) == set(moved)


def test_both_files_hold_a_row_per_sample(audited: tuple[Path, dict[str, str]]) -> None:
    folder, _ = audited
    frame = pd.read_parquet(folder / "out" / "verdicts.parquet")
    columns = ["sample", "file", "given", "suggested", "suspected", "score", *DETECTORS, "agreement", "votes"]
    assert list(frame.columns) == columns  # and none of true labels, which nobody knows
    assert frame["sample"].tolist() == list(range(120))
    assert frame["file"].tolist() == sorted(frame["file"])  # as they are stored
    assert (frame["given"] == frame["file"].str.split("/").str[1]).all()
    assert frame[["score", *DETECTORS]].stack().between(0, 1).all()
    assert ((frame["given"] != frame["suggested"]) == frame["suspected"]).all()
    sheet = pd.read_csv(folder / "out" / "verdicts.csv")
    assert list(sheet.columns) == columns
    np.testing.assert_allclose(sheet["score"], frame["score"], atol=5.1e-5)
    assert sheet[["file", "given", "suggested"]].equals(frame[["file", "given", "suggested"]].astype(str))


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_shows_suspects_and_needs_nothing_else(audited: tuple[Path, dict[str, str]]) -> None:
    folder, moved = audited
    text = (folder / "out" / "audit.html").read_text(encoding="utf-8")
    page = _Page(text)
    assert not page.open
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) >= len(moved)
    for name, kind in moved.items():
        alt = f"{name}, labelled {name.split('/')[1]}, perhaps {kind}"
        assert sum(attributes["alt"] == alt for attributes in pictures) == 1
    assert all(str(attributes["src"]).startswith("data:image/png;base64,") for attributes in pictures)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object"})
    assert not re.search(r"https?://|url\(|@import", text)
    assert "Estimated share of wrong labels" in page.words
    assert "What to do next" in page.words


@pytest.mark.parametrize("scheme", COLOURS)
def test_texts_of_the_page_are_readable(scheme: str) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    colours = COLOURS[scheme]
    for ink in ("text", "quiet", "warn"):
        for paper in ("page", "card"):
            bright, dark = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
            assert (bright + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2.2, AA


def manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "cleaned.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def copied(audited: tuple[Path, dict[str, str]], tmp_path: Path) -> Path:
    """The files of the audit, to be edited."""
    for path in (audited[0] / "out").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_apply_leaves_suspects_out_and_data_alone(
    audited: tuple[Path, dict[str, str]], copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, moved = audited
    before = everything(folder / "pets")
    assert main(["audit", "--apply", "--out", str(copied)]) == ExitCode.OK
    rows = manifest(copied)
    suspects = set(pd.read_parquet(copied / "verdicts.parquet").query("suspected")["file"])
    assert moved.keys() <= suspects
    train = {row["path"]: row["label"] for row in rows if row["split"] == "train"}
    assert len(train) == 120 - len(suspects)
    assert suspects.isdisjoint(train)
    assert all(path.split("/")[1] == label for path, label in train.items())
    assert sum(row["split"] == "test" for row in rows) == 15
    assert everything(folder / "pets") == before
    said = capsys.readouterr().out
    assert f"{len(train)} training samples, {len(suspects)} left out" in said
    assert f"--set dataset=csv:{copied}/cleaned.csv --data {folder}/pets" in said


def test_apply_takes_what_the_reader_wrote(audited: tuple[Path, dict[str, str]], copied: Path) -> None:
    _, moved = audited
    sheet = pd.read_csv(copied / "verdicts.csv")
    first, *_ = moved
    row = sheet.index[sheet["file"] == first]
    fine = sheet.index[~sheet["suspected"]][0]
    sheet.loc[row, "suspected"] = False
    sheet.loc[fine, "suspected"] = True
    sheet.loc[fine, "suggested"] = "striped" if sheet.loc[fine, "given"] != "striped" else "plain"
    sheet.to_csv(copied / "verdicts.csv", index=False)
    assert main(["audit", "--apply", "--relabel", "--out", str(copied)]) == ExitCode.OK
    labels = {line["path"]: line["label"] for line in manifest(copied) if line["split"] == "train"}
    assert len(labels) == 120
    assert labels[first] == first.split("/")[1]
    assert labels[sheet.loc[fine, "file"]] == sheet.loc[fine, "suggested"]
    for name in list(moved)[1:]:
        assert labels[name] == moved[name]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (r"\n3,", "\n4,", "line 6: there is no sample '4', or twice"),
        (r"\n3,", "\n777,", "line 5: there is no sample '777'"),
        (r"\n3,[^\n]*", "", "119 of 120 samples"),
        (r"(\n3,[^,]*),checked", r"\1,plain", "line 5: sample 3 was audited with the label 'plain'"),
        (r"(\n3,[^,]*,checked),checked,False", r"\1,spotted,True", "line 5: there is no class 'spotted'"),
        (r"(\n3,[^,]*,checked,checked),False", r"\1,perhaps", "line 5: suspected is 'perhaps'"),
        ("suspected", "doubtful", "lacks one of the columns"),
    ],
)
def test_a_sheet_that_does_not_fit_is_refused(
    copied: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: str
) -> None:
    path = copied / "verdicts.csv"
    text = path.read_text(encoding="utf-8")
    edited = re.sub(old, new, text, count=1)
    assert edited != text
    path.write_text(edited, encoding="utf-8")
    assert main(["audit", "--apply", "--out", str(copied)]) == ExitCode.USAGE
    assert words in capsys.readouterr().err
    assert not (copied / "cleaned.csv").exists()


def test_no_class_is_emptied(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copied / "verdicts.csv"
    sheet = pd.read_csv(path)
    sheet.loc[sheet["given"] == "plain", ["suggested", "suspected"]] = ["striped", True]
    sheet.to_csv(path, index=False)
    assert main(["audit", "--apply", "--out", str(copied)]) == ExitCode.USAGE
    assert "Class plain would have no training sample left." in capsys.readouterr().err


def test_the_table_fits_the_terminal(
    audited: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, moved = audited
    monkeypatch.setenv("COLUMNS", "74")
    arguments = ["audit", f"imagefolder:{folder}/pets", *SMALL, "--out", str(folder / "narrow")]
    assert main([*arguments, "--cache-dir", str(folder / "cache")]) == ExitCode.OK
    said = capsys.readouterr().out
    table = said[: said.index("\nLook at ")]
    assert max(map(len, table.splitlines())) <= 74
    for name in moved:
        assert name in table
    first, second = (folder / out / "verdicts.csv" for out in ("out", "narrow"))
    assert first.read_bytes() == second.read_bytes()  # nothing is left to chance


def features_file(folder: Path, classes: int = 3) -> Path:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 60)
    features = np.eye(classes, 8)[labels] + 0.2 * generator.normal(size=(len(labels), 8))
    arrays = {"x_train": features.astype("f4"), "y_train": labels, "x_test": features[::9].astype("f4")}
    names = np.array(["=cmd()", *(f"kind {number}" for number in range(1, classes))])
    np.savez(folder / "points.npz", **arrays, y_test=labels[::9], classes=names)
    return folder / "points.npz"


@pytest.fixture
def told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, str]:
    """An audit of features with drawn noise, and what it said."""
    path = features_file(tmp_path)
    arguments = ["audit", f"features:{path}", "--set", "noise=symmetric-0.2", "--set", "seeds=3"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == ExitCode.OK
    return tmp_path / "out", capsys.readouterr().out


def test_where_truth_is_known_detectors_are_judged(told: tuple[Path, str]) -> None:
    folder, said = told
    frame = pd.read_parquet(folder / "verdicts.parquet")
    wrong = frame["true"] != frame["given"]
    assert 0.1 < wrong.mean() < 0.25  # some of 20 % are drawn to be what they were
    rate = json.loads((folder / "audit.json").read_text())["rate"]
    worst = frame.sort_values("score", kind="stable").head(round(rate * len(frame)))
    numbers = (
        roc_auc_score(wrong, -frame["score"]),
        average_precision_score(wrong, -frame["score"]),
        (worst["true"] != worst["given"]).mean(),
    )
    line = next(line for line in said.splitlines() if line.startswith("agreement"))
    assert [float(text) for text in line.split()[1:]] == pytest.approx(numbers, abs=6e-4)
    assert all(any(line.startswith(name) for line in said.splitlines()) for name in DETECTORS)
    assert f"{wrong.mean():.1%} are wrong" in said
    assert "Against the true labels" in (folder / "audit.html").read_text(encoding="utf-8")


def test_the_slow_detectors_are_those_of_the_command_line() -> None:
    option = next(option for option in command.params if option.name == "also")
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == SLOW
    assert main(["audit", "--also", "deft", "--out", "nowhere"]) == ExitCode.USAGE


@pytest.mark.parametrize("named", [True, False])
def test_clip_is_asked_by_texts_too_where_classes_have_names(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("clip", tmp_path / "clip")
    if not named:
        monkeypatch.setattr("lnlbench.data.known.digits.Digits.templates", ("a photo of a {}.",))
    out = tmp_path / "out"
    some = ["--set", "train_per_class=6", "--set", "test_per_class=2"]
    command = ["audit", "digits", "--backbone", f"hf:{tmp_path}/clip", *SMALL, *some, "--out", str(out)]
    assert main(command) == ExitCode.OK
    columns = list(pd.read_parquet(out / "verdicts.parquet").columns)
    assert ("zero_shot" in columns, "clipcleaner" in columns) == (named, named)
    assert set(DETECTORS) < set(columns)
    assert "deft" not in columns  # it is slow, and asked by name
    assert main([*command, "--also", "deft"]) == (ExitCode.OK if named else ExitCode.USAGE)
    assert ("deft" in pd.read_parquet(out / "verdicts.parquet").columns) == named
    assert ("also" in json.loads((out / "audit.json").read_text())) == named


def test_features_have_no_files(told: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = told
    frame = pd.read_parquet(folder / "verdicts.parquet")
    assert frame["file"].isna().all()
    assert set(frame["given"]) == {"=cmd()", "kind 1", "kind 2"}
    sheet = pd.read_csv(folder / "verdicts.csv")
    assert set(sheet["given"]) == {"'=cmd()", "kind 1", "kind 2"}  # no formula for a spreadsheet
    assert "<img" not in (folder / "audit.html").read_text(encoding="utf-8")
    assert main(["audit", "--apply", "--out", str(folder)]) == ExitCode.USAGE
    assert "has no files" in capsys.readouterr().err


def test_many_classes_are_listed_as_pairs(tmp_path: Path) -> None:
    path = features_file(tmp_path, classes=24)
    out = ["--out", str(tmp_path / "out")]
    assert main(["audit", f"features:{path}", "--set", "noise=symmetric-0.2", *out]) == ExitCode.OK
    assert "The 30 largest of" in (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Nothing says what to audit"),
        (["--relabel", "digits"], "--relabel says how to --apply"),
        (["digits", "--set", "lp.epochs=3"], "an audit has no lp.epochs"),
        (["digits", "--set", "method=ce"], "an audit has no method"),
        (["digits", "--set", "noise=symmetric-0.2,symmetric-0.4"], "2 audits are asked for at once"),
        (["digits", "--set", "noise=symetric-0.2"], "symetric"),
        (["digitz"], "Unknown data set 'digitz'"),
        (["digits", "--backbone", "resnet"], "Unknown backbone 'resnet'"),
        (["npz:nowhere.npz"], "nowhere.npz does not exist"),
        (["--apply", "--out", "nowhere"], "'nowhere' holds no audit"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["audit", *arguments]) == ExitCode.USAGE
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 2}', "\x00"])
def test_a_damaged_audit_is_named(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "audit.json").write_text(content)
    assert main(["audit", "--apply", "--out", str(tmp_path)]) == ExitCode.USAGE
    assert "Audit the data set again." in capsys.readouterr().err
