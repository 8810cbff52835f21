"""Labels of other codes: read exactly, order checked, and refused when anything is wrong with them."""

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_files import cifar10n, write_pt

from lnlbench.errors import NoiseError
from lnlbench.noise import NoisyLabels, corrupt, read_noise_file, write_noise_file
from lnlbench.noise.foreign import FORMATS, Request, import_labels
from lnlbench.spec import NoiseSpec

CLEAN = np.random.default_rng(3).permutation(np.repeat(np.arange(10), 40))
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FUZZ = int(os.environ.get("LNLBENCH_FUZZ", "300"))


def noisy() -> np.ndarray:
    made: NoisyLabels = corrupt(NoiseSpec("symmetric", 0.4), CLEAN, 10, dataset="d", seed=0)
    return made.labels


NOISY = noisy()


def read(path, form, key=None, clean=CLEAN, names=NAMES):
    return import_labels(form, Request(path, key, clean, names), dataset="cifar10", label="theirs")


def write_csv(path, rows, heading="index,label"):
    path.write_text("\n".join([heading, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def written(folder, form):
    """A file as the code of that name writes it."""
    path = folder / "file"
    match form:
        case "cifar-n":
            write_pt(path, cifar10n(CLEAN) | {"worse_label": NOISY})
        case "dividemix":
            path.write_text(json.dumps(NOISY.tolist()))
        case "unicon":
            np.savez(path.with_suffix(".npz"), label=NOISY.tolist(), index=[1, 2])
            path.with_suffix(".npz").rename(path)
        case _:
            order = np.random.default_rng(0).permutation(len(CLEAN))
            write_csv(path, [(i, NAMES[NOISY[i]] if i % 2 else NOISY[i]) for i in order])
    return path


@pytest.mark.parametrize("form", FORMATS)
def test_what_others_write_becomes_a_noise_file(tmp_path, form):
    made = read(written(tmp_path, form), form, "worse_label" if form == "cifar-n" else None)
    assert np.array_equal(made.labels, NOISY)
    assert np.array_equal(made.clean, CLEAN)
    assert made.rate == np.mean(NOISY != CLEAN)
    write_noise_file(tmp_path / "n.npz", made)
    again = read_noise_file(tmp_path / "n.npz")
    assert (again.generator, again.label, again.settings["format"]) == ("import", "theirs", form)
    spec = NoiseSpec.parse(f"file:{tmp_path / 'n.npz'}")
    used = corrupt(spec, CLEAN, 10, dataset="other", seed=5)
    assert np.array_equal(used.labels, NOISY)
    assert used.report.label == "theirs"


def test_labels_with_their_own_truth_are_of_the_whole_set(tmp_path):
    part = CLEAN[:100]
    rows = np.concatenate([np.flatnonzero(c == CLEAN)[: (part == c).sum()] for c in range(10)])
    made = read(written(tmp_path, "cifar-n"), "cifar-n", "worse_label", clean=CLEAN[np.sort(rows)])
    assert len(made.labels) == len(CLEAN)
    with pytest.raises(NoiseError, match="400 labels, and the data set has 100 training samples"):
        read(written(tmp_path, "dividemix"), "dividemix", clean=part)
    with pytest.raises(NoiseError, match="another order"):
        read(written(tmp_path, "cifar-n"), "cifar-n", "worse_label", clean=np.sort(CLEAN))


def test_another_order_is_noticed_without_truth(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(np.random.default_rng(0).permutation(NOISY).tolist()))
    with pytest.raises(NoiseError, match="which is chance"):
        read(path, "dividemix")
    most = corrupt(NoiseSpec("symmetric", 0.8), CLEAN, 10, dataset="d", seed=0).labels
    path.write_text(json.dumps(most.tolist()))
    assert read(path, "dividemix").rate == np.mean(most != CLEAN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"a": [1]}', "no list of labels"),
        ("[]", "no list of labels"),
        ("[1, 2.0]", "no list of labels"),
        ("[true]", "no list of labels"),
        ("[1, null]", "no list of labels"),
        ("[1, NaN]", "no list of labels"),
        ("[-1]", "the label -1"),
        ("[99999999999999999999999999]", "the label 99999"),
        (f"[{'9' * 5000}]", "is no JSON"),
        ("[10" + ", 0" * 399 + "]", "labels from 0 to 10 for 10 classes"),
    ],
)
def test_json_that_is_no_list_of_labels(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(NoiseError, match=message) as caught:
        read(path, "dividemix")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("rows", "heading", "message"),
    [
        ([(0, 1)], "index,label", "1 labels, and the data set has 400"),
        ([(0, 1), (0, 2)], "index,label", "csv:3: index 0 is there twice"),
        ([(400, 1)], "index,label", "there is no sample 400; the data set has 400"),
        ([(-1, 1)], "index,label", "index is '-1', which is no class and no number"),
        ([(0, "dragon")], "index,label", "label is 'dragon', which is no class"),
        ([(0, "1.0")], "index,label", "label is '1.0'"),
        ([(0, "١")], "index,label", "label is '١'"),
        ([(0, 1)], "index,given", "no single column 'label'; its heading is index, given"),
        ([(0, 1, 2)], "index,label", "another number of fields"),
        ([(0,)], "index,label", "another number of fields"),
        ([(1, 1)], "label,label", "no single column"),
        ([(0, '"')], "index,label", "csv:"),
        ([], "", "no single column"),
    ],
)
def test_csv_that_is_wrong(tmp_path, rows, heading, message):
    with pytest.raises(NoiseError, match=message):
        read(write_csv(tmp_path / "a.csv", rows, heading), "csv")


def test_files_that_are_missing_or_no_text(tmp_path):
    for form in FORMATS:
        with pytest.raises(NoiseError, match="does not exist"):
            read(tmp_path / "absent", form, "label")
        with pytest.raises(NoiseError, match="is not a file"):
            read(tmp_path, form, "label")
    path = tmp_path / "bytes"
    path.write_bytes(b"\xff\xfe[1]")
    for form in ("dividemix", "csv"):
        with pytest.raises(NoiseError, match="no text in UTF-8"):
            read(path, form)
    with pytest.raises(NoiseError, match="holds several sets of labels"):
        read(written(tmp_path, "cifar-n"), "cifar-n")
    np.savez(tmp_path / "o.npz", label=np.array([{}], dtype=object))
    with pytest.raises(NoiseError, match="Python objects"):
        read(tmp_path / "o.npz", "unicon")
    np.savez(tmp_path / "f.npz", label=np.zeros(400))
    with pytest.raises(NoiseError, match="has type float64"):
        read(tmp_path / "f.npz", "unicon")


@settings(max_examples=FUZZ, deadline=None, derandomize=True, database=None)
@given(data=st.data(), form=st.sampled_from(("dividemix", "csv")))
def test_any_damage_is_an_error_of_ours_or_labels(tmp_path_factory, data, form):
    path = tmp_path_factory.getbasetemp() / f"fuzz.{form}"
    clean, labels = CLEAN[:20], NOISY[:20]
    text = json.dumps(labels.tolist())
    if form == "csv":
        text = "index,label\n" + "".join(f"{i},{label}\n" for i, label in enumerate(labels))
    raw = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw)))
        end = place + data.draw(st.integers(0, 5))
        raw[place:end] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"\n", b",", b'"', b"[", b"-", b"e9"])
        )
    path.write_bytes(raw)
    try:
        found = read(path, form, clean=clean)
    except NoiseError:
        return
    assert found.labels.shape == (20,)
    assert ((found.labels >= 0) & (found.labels < 10)).all()
