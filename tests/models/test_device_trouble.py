"""Memory that does not suffice, and a device that is lost: what the record says, and what follows."""

import dataclasses

import pytest
import torch

from lnlbench.basics.allocator import is_out_of_memory
from lnlbench.errors import DeviceError, ExitCode
from lnlbench.grids.plan import plan
from lnlbench.models.device_trouble import LOST_DEVICE, is_lost, memory_advice
from lnlbench.records.record import Status
from lnlbench.running.execute import execute
from lnlbench.running.job import Job
from lnlbench.running.listener import Listener
from lnlbench.trials import attempt
from lnlbench.trials.attempt import attempt_trial
from lnlbench.trials.workspace import RunSettings, Workspace

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def spec():
    sets = ["train_per_class=2", "test_per_class=1", "image_size=32", "lp.epochs=1", "lp.batch_size=48"]
    (planned,) = plan("quickstart", sets=[*sets, "method=ce", "tuning=lp", "noise=none"], seeds="0").planned
    return planned.spec


@pytest.fixture
def workspace(tmp_path):
    return Workspace(RunSettings(data=None, cache=tmp_path))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_how_libraries_say_that_memory_is_short(error, expected):
    assert is_out_of_memory(error) is expected


def test_a_trial_without_memory_says_what_to_change(spec, workspace, monkeypatch):
    def fail(*_):
        raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")

    monkeypatch.setattr(attempt, "run_trial", fail)
    record = attempt_trial(spec, workspace)
    assert record.status is Status.FAILED
    assert record.error["hint"] == (
        "Use a smaller lp.batch_size (now 48), gradient_checkpointing = true in backbone_options, where the "
        "backbone has it, or fewer --jobs; then --retry failed."
    )
    precise = dataclasses.replace(spec, precision="fp32")
    assert "precision = auto, or a GPU for each trial (--gpus-per-trial 1)" in memory_advice(precise, CUDA)


def test_a_device_is_lost_if_it_cannot_be_waited_for(monkeypatch):
    def fail(device):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    assert not is_lost(CPU)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    assert not is_lost(CUDA)
    monkeypatch.setattr(torch.cuda, "synchronize", fail)
    assert is_lost(CUDA)
    assert not is_lost(CPU)


class Remembers(Listener):
    """Keeps what it is told."""

    def __init__(self):
        self.records = []

    def finished(self, record):
        self.records.append(record)


def test_a_lost_device_stops_an_inline_run_after_its_record(spec, workspace, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(attempt, "run_trial", fail)
    monkeypatch.setattr(attempt, "is_lost", lambda device: True)
    emptied = []
    monkeypatch.setattr(attempt, "return_device_memory", lambda: emptied.append(True))
    listener = Remembers()
    others = [dataclasses.replace(spec, seed=seed) for seed in (1, 2)]
    with pytest.raises(DeviceError, match=r"seed 0' has left its GPU in an error") as caught:
        execute([spec, *others], Job(workspace.setting, listener=listener))
    assert caught.value.exit_code == ExitCode.INCOMPLETE
    (record,) = listener.records
    assert record.error["message"] == "CUDA error: device-side assert triggered"
    assert record.error["hint"] == LOST_DEVICE
    assert not emptied  # it would raise on such a device


def test_a_failure_that_leaves_the_device_well_stops_nothing(spec, workspace, monkeypatch):
    def fail(*_):
        raise RuntimeError("no harm done")

    monkeypatch.setattr(attempt, "run_trial", fail)
    emptied = []
    monkeypatch.setattr(attempt, "return_device_memory", lambda: emptied.append(True))
    listener = Remembers()
    execute([spec, dataclasses.replace(spec, seed=1)], Job(workspace.setting, listener=listener))
    assert [record.error["hint"] for record in listener.records] == [None, None]
    assert emptied == [True, True]
