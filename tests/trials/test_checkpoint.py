"""Checkpoints: exact, atomic, without code, and never used when damaged or of something else."""

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lnlbench.basics.files import Damaged
from lnlbench.errors import PluginError, StoreError
from lnlbench.trials.checkpoint import Checkpoints, decode, encode, read

IDENTITY = {"version": "1", "execution": ["fp32", True]}
TRIAL = "0123456789abcdef"


def same(left, right):
    """Whether two nested values are equal, types, bits and order of keys included."""
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, np.ndarray):
        return isinstance(right, np.ndarray) and left.dtype == right.dtype and np.array_equal(left, right)
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return left.hex() == right.hex()
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


marks = st.sampled_from(["@tensor", "@array", "@tuple", "@pairs", "@float"])
tensors = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool, torch.bfloat16]).flatmap(
    lambda kind: st.lists(st.integers(0, 3), max_size=3).map(lambda shape: torch.ones(shape).to(kind))
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | tensors
states = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | marks, inner, max_size=3)
    ),
    max_leaves=12,
)


@given(states)
@settings(max_examples=200, deadline=None)
def test_what_is_read_is_what_was_written(state):
    assert same(decode(encode(state)), state)


def test_the_state_of_an_optimizer_is_exact():
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    assert same(decode(encode(optimizer.state_dict())), optimizer.state_dict())


def test_tensors_that_share_memory_are_stored_apart():
    weight = torch.arange(6.0)
    state = {"all": weight, "half": weight[:3], "turned": weight.reshape(2, 3).T}
    assert same(decode(encode(state)), state)


def test_numbers_of_numpy_become_numbers():
    assert decode(encode([np.float64(0.1), np.int64(3), np.array([math.nan])]))[:2] == [0.1, 3]


def test_an_array_stays_an_array():
    state = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array(3, np.uint8), "c": np.zeros((0, 2), bool)}
    assert same(decode(encode(state)), state)


def test_a_part_of_a_tensor_does_not_take_the_whole_along():
    assert len(encode(torch.zeros(100_000)[:2])) < 10_000


@pytest.mark.parametrize("value", [object(), lambda: 0, {1, 2}, b"bytes", np.array(["text"])])
def test_what_is_not_data_is_refused_with_its_place(value):
    with pytest.raises(PluginError, match=r"method\.targets\[1\], a (object|function|set|bytes|ndarray)"):
        encode({"method": {"targets": [0, value]}})


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(TRIAL, IDENTITY, {"epoch": 2, "weights": torch.arange(1000.0)})
    return checkpoints


def test_a_checkpoint_is_found_by_its_trial(checkpoints):
    assert checkpoints.load(TRIAL, IDENTITY)[0]["epoch"] == 2
    assert checkpoints.load("another", IDENTITY) == (None, None)
    assert checkpoints.saved() == [TRIAL]
    checkpoints.remove(TRIAL)
    checkpoints.remove(TRIAL)
    assert checkpoints.load(TRIAL, IDENTITY) == (None, None)
    assert checkpoints.saved() == []


@pytest.mark.parametrize("change", [{"version": "2"}, {"execution": ["bf16", True]}, {"more": 1}])
def test_a_checkpoint_of_something_else_is_not_continued(checkpoints, change):
    (name,) = change
    assert checkpoints.load(TRIAL, IDENTITY | change) == (None, f"other {name}")


def test_a_renamed_checkpoint_is_not_continued(checkpoints):
    checkpoints.path(TRIAL).rename(checkpoints.path("f" * 16))
    state, refusal = checkpoints.load("f" * 16, IDENTITY)
    assert state is None
    assert "another trial" in refusal


def test_no_folder_keeps_nothing():
    nowhere = Checkpoints(None)
    nowhere.save(TRIAL, IDENTITY, {})
    assert nowhere.load(TRIAL, IDENTITY) == (None, None)
    assert nowhere.saved() == []
    nowhere.remove(TRIAL)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_changed_byte_is_noticed(data):
    content = bytearray(encode({"weights": torch.arange(8.0)}))
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"it (is|was) not|it has another format|its content does not match"):
        decode(bytes(content))


def code():
    return pickle.dumps(print)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "it is empty"), (b"PK\x03\x04", "not written by lnlbench"), (code(), "not written by lnlbench")],
)
def test_foreign_files_are_named(checkpoints, content, reason):
    checkpoints.path(TRIAL).write_bytes(content)
    (damaged,) = checkpoints.damaged()
    assert damaged.path == checkpoints.path(TRIAL)
    assert reason in damaged.reason
    assert checkpoints.load(TRIAL, IDENTITY) == (None, damaged.reason)


def test_a_truncated_file_is_named(checkpoints):
    path = checkpoints.path(TRIAL)
    path.write_bytes(path.read_bytes()[:-100])
    assert read(path) == Damaged(path, "its content does not match its checksum")


def test_a_folder_that_cannot_be_written_is_an_error_that_names_the_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"checkpoint '.*ckpt' could not be saved"):
        Checkpoints(tmp_path / "file").save(TRIAL, IDENTITY, {})


def test_an_earlier_checkpoint_survives_a_state_that_cannot_be_stored(checkpoints):
    with pytest.raises(PluginError):
        checkpoints.save(TRIAL, IDENTITY, {"epoch": object()})
    assert checkpoints.load(TRIAL, IDENTITY)[0]["epoch"] == 2
