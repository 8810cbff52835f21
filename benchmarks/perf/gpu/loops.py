"""Loops written by hand, on any device: what the core's speed is compared with."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from lnlbench.models.preprocessing import Preprocessing

from ..plain_loop import LR, MOMENTUM, WEIGHT_DECAY, preprocess


class BareLoop:
    """Cross-entropy on what lies on the device; no value is read before the end of an epoch.

    Parameters
    ----------
    model : nn.Module
        From what ``inputs`` returns to logits.
    inputs : callable
        From an index on the device to a batch.
    labels : torch.Tensor, int64 ``[N]``
        On the device.
    batch_size : int
    precision : {"fp32", "tf32", "bf16", "fp16"}
        What the first two mean is set for the whole process by whoever measures.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Callable[[torch.Tensor], torch.Tensor],
        labels: torch.Tensor,
        batch_size: int,
        precision: str = "fp32",
    ) -> None:
        self.model = model
        self.inputs = inputs
        self.labels = labels
        self.batch_size = batch_size
        self.low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        self.scaler = torch.amp.GradScaler(labels.device.type, enabled=precision == "fp16")
        self.optimizer = torch.optim.SGD(
            model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )

    def epoch(self) -> float:
        """Train for one epoch and return its seconds."""
        device = self.labels.device
        started = time.perf_counter()
        order = torch.randperm(len(self.labels), device=device)
        total = torch.zeros((), device=device)
        for index in order.split(self.batch_size):
            images = self.inputs(index)
            with torch.autocast(device.type, self.low, enabled=self.low is not None):
                logits = self.model(images)
            loss = functional.cross_entropy(logits.float(), self.labels[index])
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.scaler.step(self.optimizer)
            self.scaler.update()
            total += loss.detach()
        float(total)
        return time.perf_counter() - started


def images_on(
    device: torch.device, pixels: torch.Tensor, how: Preprocessing
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what makes batches of images of uint8 pixels ``[N, 3, H, W]`` that lie on a device."""
    held = pixels.to(device)
    return lambda index: preprocess(held[index], how)
