"""Let the C allocator keep the memory of large tensors between training steps.

By default glibc maps every allocation above a few megabytes afresh and unmaps it when it is
freed. Each training step then pays for hundreds of thousands of page faults, which can cost more
than the arithmetic of a small convolutional network (``python -m lnlbench.benchmarks.perf fft``
measures it). Freed memory is therefore kept during a trial, and given back after it.
"""

from __future__ import annotations

import ctypes
import gc
import platform

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
