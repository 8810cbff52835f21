"""Labels out of pickles: read exactly, and never unpickled."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_files import cifar10n, cifar100n, write_container, write_pt

from lnlbench.errors import NoiseError
from lnlbench.noise.label_pickle import MAX_BYTES, read_label_pickle

CLEAN = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 30))
FUZZ = int(os.environ.get("LNLBENCH_FUZZ", "300"))  # damaged files that a test tries


class Mine:
    """What an attacker pickles: reading it makes a file."""

    def __reduce__(self):
        return open, ("pwned", "w")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not Path("pwned").exists()


def refuse(path, match, names=("clean_label",)):
    with pytest.raises(NoiseError, match=match) as caught:
        read_label_pickle(Path(path), names)
    assert len(str(caught.value)) < 1000


def test_both_published_containers_are_read_exactly():
    content = cifar10n(CLEAN)
    found = read_label_pickle(write_pt(Path("a.pt"), content), tuple(content))
    assert all(np.array_equal(found[name], content[name]) for name in content)
    assert {labels.dtype for labels in found.values()} == {np.dtype(np.int64)}
    clean = np.arange(100).repeat(3)
    content = cifar100n(clean)
    path = write_pt(Path("b.pt"), content, stem="CIFAR-100_human")
    found = read_label_pickle(path, ("noisy_label", "noisy_coarse_label"))
    assert np.array_equal(found["noisy_label"], (clean + 1) % 100)
    assert np.array_equal(found["noisy_coarse_label"], clean // 5)


@pytest.mark.parametrize("kind", ["<i8", ">i8", "<i4", ">i2", "u1", "i1", "<u8"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_integers_of_any_width_and_order(kind, protocol):
    content = {"clean_label": CLEAN.astype(kind)}
    raw = pickle.dumps(content, protocol=2)
    if protocol == 4:  # numpy writes bytes as they are from format 3 on, which no published file does
        refuse(write_container(Path("a.pt"), pickle.dumps(content, protocol=4)), "opcode STACK_GLOBAL")
        return
    found = read_label_pickle(write_container(Path("a.pt"), raw), ["clean_label"])
    assert np.array_equal(found["clean_label"], CLEAN)


def test_what_could_run_is_named_and_not_run():
    refuse(write_pt(Path("a.pt"), {"clean_label": Mine()}), r"names 'io open'|names '_io open'")
    refuse(write_pt(Path("b.pt"), {"clean_label": CLEAN, "more": Mine()}), "could run anything")
    mixed = np.array([1, Mine()], dtype=object)
    refuse(write_pt(Path("c.pt"), {"clean_label": mixed}), "could run anything")
    refuse(write_pt(Path("d.pt"), {"clean_label": np.array([1, None], dtype=object)}), "Python objects")
    refuse(write_container(Path("e.pt"), b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R."), "names 'os system'")
    refuse(write_container(Path("f.pt"), b"\x80\x02(X\x02\0\0\0idios\nsystem\n."), "opcode INST")
    refuse(write_container(Path("g.pt"), b"\x80\x02X\x01\0\0\0aQ."), "opcode BINPERSID")


def test_a_second_pickle_and_other_containers():
    good = pickle.dumps({"clean_label": CLEAN}, protocol=2)
    refuse(write_container(Path("a.pt"), good + pickle.dumps(Mine())), "bytes behind its end")
    with zipfile.ZipFile("b.pt", "w") as archive:
        archive.writestr("a/data.pkl", good)
        archive.writestr("b/data.pkl", pickle.dumps(Mine()))
    refuse("b.pt", "holds 2 files data.pkl")
    refuse(write_container(Path("c.pt"), good, data__0=b"\0"), "holds tensors")
    refuse(write_container(Path("d.pt"), good, compression=zipfile.ZIP_DEFLATED), "compressed or encrypted")
    Path("e.pt").write_bytes(pickle.dumps(Mine()))
    refuse("e.pt", "cannot be read as a zip archive")
    refuse("absent.pt", "does not exist")
    Path("folder.pt").mkdir()
    refuse("folder.pt", "is not a file")


def test_bombs_are_refused_before_they_unpack():
    million = b"X" + (10**6).to_bytes(4, "little") + b"a" * 10**6
    # One text, kept and encoded again and again: three kilobytes of the file are 100 MB in memory.
    again = b"c_codecs\nencode\nh\x01X\x06\0\0\0latin1\x86R0".replace(b"R0", b"Rq\x02")
    raw = b"\x80\x02" + million + b"q\x01" + again * 100 + b"."
    refuse(write_container(Path("a.pt"), raw), f"unpack to more than {MAX_BYTES:,} bytes")
    refuse(write_container(Path("b.pt"), b"\x80\x02" + b"]" * 2**20 + b"."), "more than 1,048,576 steps")
    # A place in the memo that would take 32 GB if the memo were a list of so many.
    refuse(write_container(Path("c.pt"), b"\x80\x02]r\xff\xff\xff\xff."), "no dictionary")
    refuse(write_container(Path("d.pt"), b"\x80\x02\x8b\xff\xff\xff\x7f\x01."), "no file of labels")
    refuse(write_container(Path("e.pt"), b"\x80\x02" + b")" + b"\x85" * 10**5 + b"."), "no dictionary")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (CLEAN.astype(float), "an array of f8"),
        (CLEAN.reshape(30, 10), r"has the shape \(30, 10\)"),
        (CLEAN[:0], "names .__builtin__ bytes"),
        (CLEAN - 1, "labels from -1 to 8"),
        (CLEAN + 2**40, "labels from 1099511627776"),
        (np.array(["a"]), "an array of U1"),
        (CLEAN == 0, "an array of b1"),
        ([1, 2.0], "opcode BINFLOAT"),
        ([1, "a"], "something else than labels"),
        ([True, False], "something else than labels"),
        ([], "something else than labels"),
        ({"a": 1}, "is no array"),
        (None, "is no array"),
    ],
)
def test_values_that_are_no_labels(value, message):
    refuse(write_pt(Path("a.pt"), {"clean_label": value}), message)


def test_an_array_that_says_another_length_than_it_has():
    raw = pickle.dumps({"clean_label": CLEAN}, protocol=2)
    assert raw.count(b"M\x2c\x01") == 1  # 300
    refuse(write_container(Path("a.pt"), raw.replace(b"M\x2c\x01", b"M\x2d\x01")), "301 labels in 2400 bytes")


def test_names_that_are_not_there_are_listed():
    path = write_pt(Path("a.pt"), {"clean_label": CLEAN, 'x"y': CLEAN})
    refuse(path, 'has no aggre_label; it holds clean_label, x"y', ("clean_label", "aggre_label"))
    refuse(write_pt(Path("b.pt"), [1, 2]), "is no dictionary")
    refuse(write_pt(Path("c.pt"), {3: CLEAN}), "key of its dictionary is no text")


@pytest.fixture(scope="module")
def good():
    return pickle.dumps({"clean_label": CLEAN[:40], "list": [1, 2, 3], "b": CLEAN[:5]}, protocol=2)


def check_outcome(raw):
    """Whatever the bytes are: labels, or an error of ours."""
    path = write_container(Path("fuzz.pt"), raw)
    try:
        found = read_label_pickle(path, ["clean_label"])["clean_label"]
    except NoiseError:
        return
    assert (found.dtype, found.ndim) == (np.int64, 1)
    assert found.min() >= 0


FUZZED = settings(max_examples=FUZZ, deadline=None, derandomize=True, database=None)


@FUZZED
@given(data=st.data())
def test_any_damage_is_an_error_of_ours(good, data):
    raw = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(("change", "cut", "insert", "repeat"))):
            case "change":
                raw[place] = data.draw(st.integers(0, 255))
            case "cut":
                del raw[place : place + data.draw(st.integers(1, 8))]
            case "insert":
                raw[place:place] = data.draw(st.binary(min_size=1, max_size=8))
            case _:
                raw[place:place] = raw[place : place + data.draw(st.integers(1, 40))]
        if not raw:
            break
    check_outcome(bytes(raw))


@FUZZED
@given(raw=st.lists(st.sampled_from([bytes([b]) for b in range(256)]), max_size=40).map(b"".join))
def test_any_opcodes_are_an_error_of_ours(raw):
    check_outcome(b"\x80\x02" + raw + b".")
