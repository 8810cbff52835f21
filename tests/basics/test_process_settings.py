"""Settings of the process: explicit while a trial runs, and put back whatever has set them."""

import os

import pytest
import torch
from torch import backends

from lnlbench.basics import process_settings
from lnlbench.basics.process_settings import (
    CUBLAS_VARIABLE,
    arithmetic_as_found,
    be_deterministic,
    is_deterministic,
    prepare_cublas,
    process_as_found,
    set_tf32,
    tf32_flags,
)
from lnlbench.errors import UsageError

NEW = hasattr(backends.cuda.matmul, "fp32_precision")
new_interface = pytest.mark.skipif(not NEW, reason="this version of torch has the older interface alone")


def by_the_new_interface():
    backends.cuda.matmul.fp32_precision = "tf32"
    backends.cudnn.conv.fp32_precision = "ieee"
    backends.mkldnn.matmul.fp32_precision = "bf16"
    backends.fp32_precision = "tf32"


def by_the_older_interface():
    torch.set_float32_matmul_precision("medium")
    backends.cudnn.allow_tf32 = False


def by_both():
    by_the_older_interface()
    by_the_new_interface()


def other_switches():
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    backends.cudnn.deterministic = True
    backends.cudnn.benchmark = True
    backends.cudnn.enabled = False
    for name in ("flash", "mem_efficient", "math", "cudnn"):
        getattr(backends.cuda, f"enable_{name}_sdp")(False)
    backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.set_autocast_enabled("cpu", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_default_device("meta")
    os.environ["LNLBENCH_DATA"] = "/nowhere"
    os.chdir("/")


def state():
    return [setting.value() for setting in process_settings._SETTINGS]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(by_the_new_interface, marks=new_interface),
        by_the_older_interface,
        pytest.param(by_both, marks=new_interface),
        other_switches,
    ],
)
def test_whatever_is_set_is_put_back(change):
    before = state()
    assert not any(value is process_settings._UNREADABLE for value in before)
    with process_as_found():
        change()
        assert state() != before
    assert state() == before
    with process_as_found():  # and the next trial can be entered and left
        pass
    # What others read, by either interface, can be read.
    assert torch.get_float32_matmul_precision() == "highest"
    assert backends.cudnn.allow_tf32 is True


@new_interface
def test_a_process_that_mixes_both_interfaces_can_be_entered_and_left():
    with process_as_found():
        by_the_new_interface()
        with pytest.raises(RuntimeError):
            torch.get_float32_matmul_precision()
        with process_as_found():
            set_tf32(False)
        assert backends.cuda.matmul.fp32_precision == "tf32"


def test_tf32_is_set_for_products_and_convolutions_together():
    with arithmetic_as_found():
        for on in (True, False):
            set_tf32(on)
            assert tf32_flags() == {"matmul": on, "convolutions": on}
    assert tf32_flags() == {"matmul": False, "convolutions": True}  # PyTorch's own default


def test_the_older_interface_does_the_same(monkeypatch):
    monkeypatch.setattr(process_settings, "_NEW", False)
    with arithmetic_as_found():
        for on in (True, False):
            set_tf32(on)
            assert tf32_flags() == {"matmul": on, "convolutions": on}
            assert torch.get_float32_matmul_precision() == ("high" if on else "highest")


def test_determinism_is_asked_for_and_taken_back(monkeypatch):
    monkeypatch.delenv(CUBLAS_VARIABLE, raising=False)
    assert not is_deterministic()
    with process_as_found():
        backends.cudnn.benchmark = True
        be_deterministic()
        assert is_deterministic()
        assert torch.are_deterministic_algorithms_enabled()
        # With a warning only, attention would keep its other kernels.
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert backends.cudnn.deterministic
        assert not backends.cudnn.benchmark
        backends.cudnn.benchmark = True
        assert not is_deterministic()
    assert not is_deterministic()
    # cuBLAS reads it once: it stays, for trials that ask again.
    assert os.environ[CUBLAS_VARIABLE] == ":4096:8"


def test_determinism_is_refused_where_it_comes_too_late(monkeypatch):
    monkeypatch.setattr(process_settings, "uses_gpu", lambda: True)
    monkeypatch.setenv(CUBLAS_VARIABLE, ":4096:2:16:8")
    with pytest.raises(UsageError, match="CUBLAS_WORKSPACE_CONFIG=:4096:8 before Python"):
        prepare_cublas()
    monkeypatch.setenv(CUBLAS_VARIABLE, ":16:8")
    prepare_cublas()
    assert os.environ[CUBLAS_VARIABLE] == ":16:8"
