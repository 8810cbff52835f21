"""What a trial can meet on a device: memory that does not suffice, and a device that is lost."""

from __future__ import annotations

import torch

from lnlbench.spec import TrialSpec, has_images

LOST_DEVICE = (
    "Its GPU cannot be used any more by the process that ran it. With CUDA_LAUNCH_BLOCKING=1 the traceback "
    "names the operation. Mend that, then use --retry failed."
)


def is_lost(device: torch.device) -> bool:
    """Whether this process can use a GPU no more, after an exception.

    An index that is out of range, an illegal access or a fault of the hardware leaves the process's context
    on the GPU in an error that nothing clears: all that follows in it fails as well.
    """
    if device.type != "cuda":
        return False
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False


def memory_advice(spec: TrialSpec, device: torch.device) -> str:
    """Say what to change in a trial that has run out of memory."""
    sizes = dict.fromkeys(f"{phase.kind}.batch_size (now {phase.batch_size})" for phase in spec.phases)
    wishes = [f"a smaller {' or '.join(sizes)}"]
    if has_images(spec):
        if not dict(spec.backbone.options).get("gradient_checkpointing"):
            wishes.append("gradient_checkpointing = true in backbone_options, where the backbone has it")
        if spec.precision in ("fp32", "tf32"):
            wishes.append("precision = auto")
    wishes.append("a GPU for each trial (--gpus-per-trial 1)" if device.type == "cuda" else "fewer --jobs")
    return f"Use {', '.join(wishes[:-1])}, or {wishes[-1]}; then --retry failed."
