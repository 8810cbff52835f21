"""How a backbone is executed: precision, memory layout, and whether always with the same bits.

Of the precisions, ``fp32`` is IEEE float32 throughout; ``tf32`` lets a GPU round the factors of products
and convolutions to 10 bits of mantissa; ``bf16`` and ``fp16`` run backbones under autocast, with weights,
heads and losses in float32. Gradients of fp16 would fall below its smallest number, so losses are scaled up
for the backward pass (Micikevicius et al., Mixed Precision Training, ICLR 2018, section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lnlbench.basics.process_settings import arithmetic_as_found, be_deterministic, set_tf32
from lnlbench.errors import UsageError

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
# The first generations of NVIDIA's GPUs with matrix units for a precision.
_VOLTA, _AMPERE = (7, 0), (8, 0)


@dataclass(frozen=True, slots=True)
class Execution:
    """How a backbone is executed.

    Passes belong into ``with execution.arithmetic(device):``, which a trial holds from its first network to
    its end::

        execution = Execution("fp16", deterministic=True)
        with execution.arithmetic(device):
            module = execution.prepare(module.to(device))
            phase = Phase(..., scaler=execution.scaler(device))
            with execution.autocast(device):
                features = module(images)

    Attributes
    ----------
    precision : {"fp32", "tf32", "bf16", "fp16"}
    channels_last : bool
    deterministic : bool
        Whether only algorithms are used that give the same bits every time.
    """

    precision: str = "fp32"
    channels_last: bool = False
    deterministic: bool = False

    @property
    def dtype(self) -> torch.dtype | None:
        """Type for autocast, or None for float32 throughout."""
        return _AUTOCAST.get(self.precision)

    @property
    def layout(self) -> str:
        """Of images in memory, as records name it."""
        return "channels_last" if self.channels_last else "contiguous"

    def prepare(self, module: nn.Module) -> nn.Module:
        """Return the module in the chosen memory layout."""
        if self.channels_last:
            return module.to(memory_format=torch.channels_last)
        return module

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """Return the context for forward passes."""
        if self.dtype is None:
            return nullcontext()
        if device.type == "cpu":
            return _on_cpu(self.dtype)
        return torch.autocast(device.type, dtype=self.dtype)

    def scaler(self, device: torch.device) -> torch.amp.GradScaler | None:
        """Return what scales losses for :class:`~lnlbench.api.phase.Phase`; None but for fp16."""
        return torch.amp.GradScaler(device.type) if self.precision == "fp16" else None

    def apply(self, device: torch.device) -> None:
        """Set for the process what passes in this precision need.

        Raises
        ------
        UsageError
            If determinism is asked for when the process has used its GPU already.
        """
        if device.type == "cuda":
            set_tf32(self.precision == "tf32")
        if self.deterministic:
            be_deterministic()

    @contextmanager
    def arithmetic(self, device: torch.device) -> Iterator[None]:
        """Hold what :meth:`apply` sets during a ``with`` block."""
        with arithmetic_as_found():
            self.apply(device)
            yield


@contextmanager
def _on_cpu(dtype: torch.dtype) -> Iterator[None]:
    # torch's fused attention for CPUs is slow in these types: with it a step of LoRA on a ViT-S/14 takes
    # 1.4 times as long at 56 pixels, and at 224 as long as without.
    with torch.autocast("cpu", dtype=dtype), sdpa_kernel(SDPBackend.MATH):
        yield


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16, rather than emulating it many times slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    information = Path("/proc/cpuinfo")
    return information.exists() and "bf16" in information.read_text()


def automatic_precisions(device: torch.device) -> tuple[str, ...]:
    """Return the precisions that ``auto`` chooses from, the most exact first.

    fp16 is among them only on GPUs that have no bfloat16.
    """
    found = ["fp32"]
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= _AMPERE:
        found.append("tf32")
    if has_bfloat16(device):
        found.append("bf16")
    elif device.type == "cuda" and torch.cuda.get_device_capability(device) >= _VOLTA:
        found.append("fp16")
    return tuple(found)


def check_precision(precision: str, device: torch.device) -> None:
    """Raise if a device does not compute in a precision that was asked for.

    What GPUs that are not in this machine can do is not known; the trials find out.

    Raises
    ------
    UsageError
        For TF32 on anything but a GPU that has it.
    """
    if precision != "tf32" or (device.type == "cuda" and not torch.cuda.is_available()):
        return
    if device.type != "cuda":
        reason = f"that is a precision of NVIDIA's GPUs, and trials run on the {device.type.upper()}"
    elif torch.cuda.get_device_capability(device) < _AMPERE:
        reason = f"{torch.cuda.get_device_name(device)} has none, which came with Ampere"
    else:
        return
    raise UsageError(f"precision is '{precision}': {reason}.", "Set precision to auto or fp32.")
