"""Settings of the whole process that change numbers: read, made explicit for a trial, put back after it.

PyTorch has two interfaces to the precision of float32 on a GPU: ``fp32_precision`` of its back-ends, and
the older ``allow_tf32`` and ``set_float32_matmul_precision``. Once something was set by the new one, the
getters of the old one raise. So we set by the new one alone where there is one, a plugin may use either, and
what cannot be read is taken for changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import backends

from lnlbench.errors import UsageError

# What cuBLAS must be told, before it is first used, to sum in a fixed order.
CUBLAS_VARIABLE, CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
_REPEATABLE = (":4096:8", ":16:8")
# Set by libraries once, for good: torch.compile finds its compiler and its cache by these.
_KEPT_VARIABLES = ("TORCHINDUCTOR_", "TRITON_", CUBLAS_VARIABLE)

_UNREADABLE = object()


class _Setting(NamedTuple):
    """How a setting is read and written."""

    read: Callable[[], Any]
    write: Callable[[Any], object]

    def value(self) -> Any:
        """Return what is set, or a mark where PyTorch will not say."""
        try:
            return self.read()
        except RuntimeError:  # it was set through the other interface
            return _UNREADABLE


def _attributes(holder: Any, *names: str) -> list[_Setting]:
    """Return settings that are attributes of a PyTorch back-end, as far as this version has them."""
    found = []
    for name in names:
        try:
            getattr(holder, name)
        except AttributeError:
            continue
        except RuntimeError:  # it is there, and was set through the other interface
            pass
        found.append(_Setting(partial(getattr, holder, name), partial(setattr, holder, name)))
    return found


def _switches(*names: str) -> list[_Setting]:
    """Return back-ends of scaled-dot-product attention, as far as this version has them."""
    cuda = backends.cuda
    return [
        _Setting(getattr(cuda, f"{name}_sdp_enabled"), getattr(cuda, f"enable_{name}_sdp"))
        for name in names
        if hasattr(cuda, f"enable_{name}_sdp")
    ]


_cudnn: Any = backends.cudnn  # what it has depends on the version
_mkldnn: Any = backends.mkldnn
_NEW = hasattr(_cudnn, "conv") and hasattr(_cudnn.conv, "fp32_precision")
# In this order: the older interface also sets what the new one shows, and is put right by it.
_FLOAT32 = [
    _Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    *_attributes(_cudnn, "allow_tf32"),
    *_attributes(backends, "fp32_precision"),
    *(setting for module in (_cudnn, _mkldnn) for setting in _attributes(module, "fp32_precision")),
    *_attributes(backends.cuda.matmul, "fp32_precision"),
    *(
        setting
        for module in (_cudnn, _mkldnn)
        for name in ("matmul", "conv", "rnn")
        for setting in _attributes(getattr(module, name, None), "fp32_precision")
    ),
]
_DETERMINISM = [
    _Setting(torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    *_attributes(_cudnn, "benchmark", "deterministic"),
    *_attributes(torch.utils.deterministic, "fill_uninitialized_memory"),
]


def _reductions() -> list[_Setting]:
    """Return whether products in half precision may also be summed in it, and in what order."""
    found = []
    for kind in ("fp16", "bf16"):
        name = f"allow_{kind}_reduced_precision_reduction"
        parts = _attributes(backends.cuda.matmul, name, f"{name}_split_k")
        if len(parts) == 1:
            found += parts
        elif parts:  # written together
            found.append(_Setting(partial(_all, parts), partial(setattr, backends.cuda.matmul, name)))
    return found + _attributes(backends.cuda.matmul, "allow_fp16_accumulation")


def _all(parts: list[_Setting]) -> tuple[Any, ...]:
    return tuple(part.read() for part in parts)


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)  # None is how it was before


def memory_fraction() -> float | None:
    """Return the share of the GPU's memory that this process may use; None before it uses a GPU."""
    if not uses_gpu() or not hasattr(torch.cuda, "get_per_process_memory_fraction"):
        return None
    try:
        return float(torch.cuda.get_per_process_memory_fraction())
    except RuntimeError:  # the GPU is lost
        return None


def _set_memory_fraction(fraction: float | None) -> None:
    if memory_fraction() is not None:
        torch.cuda.set_per_process_memory_fraction(1.0 if fraction is None else fraction)


def _working_folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109
    except FileNotFoundError:  # it was removed; a trial may do without
        return None


def _set_working_folder(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_KEPT_VARIABLES)}


def _set_environment(variables: Mapping[str, str]) -> None:
    for name in _environment().keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


_SETTINGS = [
    _Setting(torch.get_default_dtype, torch.set_default_dtype),
    _Setting(torch.is_grad_enabled, torch.set_grad_enabled),
    _Setting(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    *_DETERMINISM,
    *_FLOAT32,
    *_reductions(),
    *_attributes(_cudnn, "enabled", "benchmark_limit"),
    *_switches("flash", "mem_efficient", "math", "cudnn"),
    *(
        _Setting(partial(torch.is_autocast_enabled, kind), partial(torch.set_autocast_enabled, kind))
        for kind in ("cpu", "cuda")
    ),
    *(
        _Setting(partial(torch.get_autocast_dtype, kind), partial(torch.set_autocast_dtype, kind))
        for kind in ("cpu", "cuda")
    ),
    _Setting(torch.get_default_device, _set_default_device),
    _Setting(memory_fraction, _set_memory_fraction),
    _Setting(_working_folder, _set_working_folder),
    _Setting(_environment, _set_environment),
]


@contextmanager
def _as_found(settings: list[_Setting]) -> Iterator[None]:
    before = [setting.value() for setting in settings]
    try:
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            if value is not _UNREADABLE and setting.value() != value:
                setting.write(value)


@contextmanager
def process_as_found() -> Iterator[None]:
    """Put back what a plugin may have set for the whole process, and so for the trials after its own.

    What it changes inside of other modules stays changed.
    """
    with _as_found(_SETTINGS):
        yield


@contextmanager
def arithmetic_as_found() -> Iterator[None]:
    """Put back the precision of float32 and the demand for determinism after a ``with`` block."""
    with _as_found([*_DETERMINISM, *_FLOAT32]):
        yield


def set_tf32(on: bool) -> None:
    """Let float32 products and convolutions on a GPU be computed in TF32, both of them or none.

    PyTorch itself starts with convolutions in TF32 and products in IEEE float32.
    """
    if _NEW:
        value = "tf32" if on else "ieee"
        backends.cuda.matmul.fp32_precision = value
        _cudnn.conv.fp32_precision = value
        _cudnn.rnn.fp32_precision = value
    else:
        backends.cuda.matmul.allow_tf32 = on
        _cudnn.allow_tf32 = on


def tf32_flags() -> dict[str, bool]:
    """Return for ``matmul`` and ``convolutions`` whether TF32 is on; without what cannot be read."""
    if _NEW:
        values = {
            "matmul": backends.cuda.matmul.fp32_precision == "tf32",
            "convolutions": _cudnn.conv.fp32_precision == "tf32",
        }
    else:
        values = {"matmul": bool(backends.cuda.matmul.allow_tf32), "convolutions": bool(_cudnn.allow_tf32)}
    return values


def be_deterministic() -> None:
    """Ask PyTorch for algorithms that give the same bits every time; an operator without one raises.

    With it, attention on a GPU takes the deterministic forms of the flash and memory-efficient kernels (a
    mere warning instead of an error would not switch them), and cuDNN's attention is left out.

    Raises
    ------
    UsageError
        If this process has used its GPU before :func:`prepare_cublas` was called.
    """
    prepare_cublas()
    torch.use_deterministic_algorithms(True)
    _cudnn.benchmark = False
    _cudnn.deterministic = True


def prepare_cublas() -> None:
    """Tell cuBLAS to sum in a fixed order, which it must know before it is first used.

    Raises
    ------
    UsageError
        If it may have been used already.
    """
    if os.environ.get(CUBLAS_VARIABLE) in _REPEATABLE:
        return
    if uses_gpu():
        raise UsageError(
            "Deterministic algorithms were asked for in a process that has used its GPU without "
            f"{CUBLAS_VARIABLE}.",
            f"Set {CUBLAS_VARIABLE}={CUBLAS_WORKSPACE} before Python starts.",
        )
    os.environ[CUBLAS_VARIABLE] = CUBLAS_WORKSPACE


def uses_gpu() -> bool:
    """Whether this process has a context on a GPU."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def is_deterministic() -> bool:
    """Whether PyTorch was asked for algorithms that give the same bits every time, and cuDNN is."""
    return torch.are_deterministic_algorithms_enabled() and not _cudnn.benchmark
