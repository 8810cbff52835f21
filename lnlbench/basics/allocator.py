"""Let the C allocator keep the memory of large tensors between training steps.

By default glibc maps every allocation above a few megabytes afresh and unmaps it when it is
freed. Each training step then pays for hundreds of thousands of page faults, which can cost more
than the arithmetic of a small convolutional network (``python -m lnlbench.benchmarks.perf fft``
measures it). Freed memory is therefore kept during a trial, and given back after it; so is what PyTorch keeps
of a GPU's memory, which other processes may want.
"""

from __future__ import annotations

import ctypes
import gc
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager

# How libraries say that a device has no memory left, but for PyTorch's own exception.
_NO_MEMORY = re.compile(
    "out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|CUSOLVER_STATUS_ALLOC_FAILED"
    # A handle needs some megabytes of its own; this is what it says without them.
    "|CUBLAS_STATUS_NOT_INITIALIZED when calling .?cublasCreate"
    "|DefaultCPUAllocator: (can't|not enough)"
)
# From glibc's malloc.h.
_TRIM_THRESHOLD = -1
_TOP_PAD = -2
_MMAP_MAX = -4
_ARENA_MAX = -8


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed memory instead of returning it; for this process, once and for all.

    Returns
    -------
    bool
        Whether it took effect; False where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(
        mallopt(_ARENA_MAX, 1)  # Ray runs trials in a thread, whose own arena could not grow enough
        and mallopt(_MMAP_MAX, 0)
        and mallopt(_TRIM_THRESHOLD, -1)
        and mallopt(_TOP_PAD, 64 * 2**20)
    )


def return_freed_memory() -> None:
    """Give what was kept back to the system, between trials.

    Kept memory gets fragmented; without this a worker would grow with every trial.
    """
    gc.collect()  # networks and the factories of their backbones refer to each other
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def settle_imports() -> None:
    """Spare the collector what exists now, for as long as the process lives.

    Torch and what comes with it make half a million objects that stay. Looking through them after each trial
    takes as long as a short trial. For worker processes, before the first trial: what is settled and becomes
    garbage later is never freed.
    """
    gc.collect()
    gc.freeze()


def return_device_memory() -> None:
    """Give back what PyTorch keeps of the GPUs' memory, after :func:`return_freed_memory`.

    What tensors hold stays.
    """
    import torch  # here, for commands that need it not and start faster without

    torch.cuda.empty_cache()  # does nothing in a process that has used no GPU


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory did not suffice, in whatever words."""
    import torch

    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None


@contextmanager
def patient_collector() -> Iterator[None]:
    """Let Python look for garbage less often during the ``with`` block, or in a function so decorated.

    For what makes many small objects that all stay, thousands of records or trials: looking through
    them again and again takes a third of the time.
    """
    before = gc.get_threshold()
    gc.set_threshold(200_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
