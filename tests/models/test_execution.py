"""Precisions: what each sets, where each can be had, and what ``auto`` may choose from."""

import pytest
import torch

from lnlbench.basics.process_settings import is_deterministic, tf32_flags
from lnlbench.errors import UsageError
from lnlbench.models import execution
from lnlbench.models.execution import Execution, automatic_precisions, check_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ALL = ("fp32", "tf32", "bf16", "fp16")


@pytest.fixture
def gpu(monkeypatch):
    """A function that makes PyTorch speak of a GPU of some capability."""

    def pretend(capability):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "A GPU")
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: capability >= (8, 0)
        )

    return pretend


@pytest.mark.parametrize("precision", ALL)
def test_tf32_is_on_for_tf32_alone(precision):
    before = tf32_flags()
    with Execution(precision).arithmetic(CUDA):
        on = precision == "tf32"
        assert tf32_flags() == {"matmul": on, "convolutions": on}
    assert tf32_flags() == before
    with Execution(precision).arithmetic(CPU):
        assert tf32_flags() == before


def test_determinism_lasts_as_long_as_the_block():
    with Execution(deterministic=True).arithmetic(CPU):
        assert is_deterministic()
    assert not is_deterministic()
    with Execution().arithmetic(CPU):
        assert not is_deterministic()


def test_the_switches_are_put_back_after_an_error():
    with pytest.raises(ValueError, match="broken"), Execution("tf32", deterministic=True).arithmetic(CUDA):
        raise ValueError("broken")
    assert not is_deterministic()
    assert tf32_flags()["matmul"] is False


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_half_precisions_run_under_autocast(precision, dtype):
    layer = torch.nn.Linear(4, 2)
    with Execution(precision).autocast(CPU):
        assert layer(torch.ones(1, 4)).dtype == dtype
    with Execution("tf32").autocast(CPU):
        assert layer(torch.ones(1, 4)).dtype == torch.float32


def test_losses_are_scaled_in_fp16_alone():
    assert [name for name in ALL if Execution(name).scaler(CPU) is not None] == ["fp16"]
    assert Execution("fp16").scaler(CPU).get_scale() == 2.0**16


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((6, 1), ("fp32",)),
        ((7, 0), ("fp32", "fp16")),
        ((7, 5), ("fp32", "fp16")),
        ((8, 0), ("fp32", "tf32", "bf16")),
        ((9, 0), ("fp32", "tf32", "bf16")),
    ],
)
def test_what_a_gpu_computes_in_by_itself(gpu, capability, expected):
    gpu(capability)
    assert automatic_precisions(CUDA) == expected


def test_what_a_processor_computes_in_by_itself(monkeypatch):
    for has, expected in ((False, ("fp32",)), (True, ("fp32", "bf16"))):
        monkeypatch.setattr(execution, "has_bfloat16", lambda device, has=has: has)
        assert automatic_precisions(CPU) == expected


def test_tf32_is_refused_where_there_is_none(gpu):
    with pytest.raises(UsageError, match="trials run on the CPU"):
        check_precision("tf32", CPU)
    check_precision("tf32", CUDA)  # of a cluster, perhaps: there is no GPU here
    gpu((7, 5))
    with pytest.raises(UsageError, match="A GPU has none, which came with Ampere"):
        check_precision("tf32", CUDA)
    for precision in ("auto", "fp32", "bf16", "fp16"):
        check_precision(precision, CPU)
        check_precision(precision, CUDA)
    gpu((8, 6))
    check_precision("tf32", CUDA)
