"""A phase as a method sees it: batches, optimisers, whole-set logits, and a place to publish."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from lnlbench.data.inputs import Inputs, Views, Wanted, in_order, stream
from lnlbench.errors import TrialError
from lnlbench.models.network import Network
from lnlbench.seeding import derive_seed
from lnlbench.selection import Selection
from lnlbench.spec import PhaseSpec

# Samples per forward pass where no gradient is kept. Fixed, so that results do not depend on it.
EVALUATION_BATCH = 256


@dataclass(frozen=True, slots=True)
class Batch:
    """Some training samples, ready for a network.

    Attributes
    ----------
    index : torch.Tensor, int64 ``[B]``
        Positions in the training set, on the CPU.
    labels : torch.Tensor, int64 ``[B]``
        Given labels, possibly wrong, on the device.
    inputs : torch.Tensor
        Images ``[B, 3, S, S]`` or features ``[B, d]``: un-augmented, or one weak view where
        the phase says ``augmentation = "weak"``. Has no rows if the caller declined it.
    weak, strong : tuple of torch.Tensor
        As many views as were asked for, each shaped like ``inputs``.
    """

    index: torch.Tensor
    labels: torch.Tensor
    inputs: torch.Tensor
    weak: Views = ()
    strong: Views = ()

    def __len__(self) -> int:
        return len(self.index)


class Phase:
    """One phase of a trial's tuning mode, in its current epoch.

    Attributes
    ----------
    spec : PhaseSpec
        Kind, epochs, batch size and optimiser settings.
    index, epoch : int
        Which phase of the trial, and which epoch of the phase, both from 0.
    labels : torch.Tensor, int64 ``[N]``
        Given labels of all training samples, on the CPU.
    classes : int
    device : torch.device
    generator : torch.Generator
        For all random choices of the current epoch; seeded anew from (trial, phase, epoch)
        when the epoch starts, so continuing a trial needs no saved generator.
    """

    def __init__(
        self,
        spec: PhaseSpec,
        index: int,
        *,
        inputs: Inputs,
        cached_plain: Inputs | None,
        labels: torch.Tensor,
        classes: int,
        device: torch.device,
        seed: int,
    ) -> None:
        self.spec = spec
        self.index = index
        self.epoch = 0
        self.labels = labels
        self.classes = classes
        self.device = device
        self.generator = torch.Generator()
        self.selection: Selection | None = None
        self.events: dict[str, int] = {}
        self._inputs = inputs
        self._cached_plain = cached_plain
        self._device_labels = labels.to(device)
        self._seed = seed
        self._rates: list[tuple[torch.optim.Optimizer, float]] = []
        self._loss_sum = torch.zeros((), device=device)
        self._steps = 0

    # What a method calls

    @property
    def kind(self) -> str:
        """``"lp"`` or ``"fft"``."""
        return self.spec.kind

    @property
    def epochs(self) -> int:
        """Number of epochs of this phase."""
        return self.spec.epochs

    @property
    def samples(self) -> int:
        """Number of training samples, N."""
        return len(self.labels)

    def seed(self, stream: str) -> int:
        """Return a 32-bit seed for a library that wants a number (a mixture fit, say)."""
        return derive_seed(stream, self._seed, self.index, self.epoch) & 0xFFFFFFFF

    def optimizer(self, *modules: nn.Module) -> torch.optim.Optimizer:
        """Return the phase's optimiser over what learns in ``modules``, its schedule attached."""
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        spec = self.spec
        optimizer: torch.optim.Optimizer
        if spec.optimizer == "sgd":
            optimizer = torch.optim.SGD(
                parameters, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay
            )
        else:
            optimizer = torch.optim.AdamW(parameters, lr=spec.lr, weight_decay=spec.weight_decay)
        learning = [m for m in modules if isinstance(m, Network) and not m.frozen]
        if learning:

            def mark(*_: object) -> None:
                for network in learning:
                    network.pristine = False

            optimizer.register_step_post_hook(mark)
        self._rates.append((optimizer, spec.lr))
        return optimizer

    def batches(
        self,
        index: torch.Tensor | None = None,
        *,
        batch_size: int | None = None,
        plain: bool = True,
        weak: int = 0,
        strong: int = 0,
    ) -> Iterator[Batch]:
        """Go once through samples in random order.

        Parameters
        ----------
        index : torch.Tensor, int64, optional
            Samples to go through; default all N.
        batch_size : int, optional
            Default the phase's.
        plain : bool
            Whether ``Batch.inputs`` is wanted.
        weak, strong : int
            Views per sample.

        Yields
        ------
        Batch
            The last one may be smaller; a last batch of one sample is joined to the one
            before, since batch normalisation has no variance of one sample.
        """
        rows = torch.arange(self.samples) if index is None else index
        size = batch_size or self.spec.batch_size
        order = rows[torch.randperm(len(rows), generator=self.generator)]
        starts = list(range(0, len(order), size))
        if len(starts) > 1 and len(order) - starts[-1] == 1:
            starts.pop()
            self.count("batch_of_one_joined")
        chunks = [order[start:stop] for start, stop in zip(starts, [*starts[1:], len(order)], strict=True)]
        augmented = self.spec.augmentation == "weak"
        wanted = Wanted(("weak" if augmented else "plain") if plain else None, weak, strong)
        nothing = torch.empty(0, device=self.device)
        for chosen, made in zip(chunks, stream(self._inputs, chunks, wanted, self.generator), strict=True):
            yield Batch(
                chosen,
                self._device_labels[chosen],
                nothing if made.inputs is None else made.inputs,
                made.weak,
                made.strong,
            )

    def endless(
        self, index: torch.Tensor, *, batch_size: int | None = None, weak: int = 0, strong: int = 0
    ) -> Iterator[Batch]:
        """Go through ``index`` again and again, in a new order each time."""
        if not len(index):
            raise ValueError("endless batches of no samples")
        while True:
            yield from self.batches(index, batch_size=batch_size, plain=False, weak=weak, strong=strong)

    @torch.no_grad()
    def logits(self, predict: Callable[[torch.Tensor], torch.Tensor] | Network) -> torch.Tensor:
        """Return the logits ``[N, C]`` of all training samples, un-augmented, in eval mode.

        The features of linear probing are used again for as long as the backbone is the one
        that made them. The result is on the device, without gradient.
        """
        source = self._inputs
        if isinstance(predict, Network):
            if predict.pristine and self._cached_plain is not None:
                source = self._cached_plain
            training = predict.training
            predict.eval()
        pieces = [predict(inputs) for _, inputs in in_order(source, EVALUATION_BATCH)]
        if isinstance(predict, Network):
            predict.train(training)
        return torch.cat(pieces)

    def step(self, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        """Take one optimisation step on a scalar loss."""
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        # Summed on the device: reading every loss would wait for the device every step.
        self._loss_sum += loss.detach()
        self._steps += 1

    def publish(self, selection: Selection) -> None:
        """Tell the runner which samples the method takes as clean in this epoch."""
        self.selection = selection

    def count(self, event: str, times: int = 1) -> None:
        """Count a degenerate case that was met and handled; it goes into the record."""
        self.events[event] = self.events.get(event, 0) + times

    # What the trial calls

    def start_epoch(self, epoch: int) -> None:
        """Seed the epoch's random numbers and set its learning rate."""
        self.epoch = epoch
        seed = derive_seed("epoch", self._seed, self.index, epoch)
        self.generator.manual_seed(seed)
        torch.manual_seed(seed)  # dropout and stochastic depth inside backbones
        self.selection = None
        self._loss_sum.zero_()
        self._steps = 0
        factor = 1.0
        if self.spec.schedule == "cosine":
            factor = 0.5 * (1.0 + math.cos(math.pi * epoch / self.spec.epochs))
        for optimizer, rate in self._rates:
            for group in optimizer.param_groups:
                group["lr"] = rate * factor

    def end_epoch(self) -> float | None:
        """Return the epoch's mean loss over steps; None if no step was taken.

        Raises
        ------
        TrialError
            If a loss was not finite.
        """
        if not self._steps:
            return None
        mean = float(self._loss_sum) / self._steps
        if not math.isfinite(mean):
            raise TrialError(
                f"The loss is not finite in epoch {self.epoch + 1} of the {self.kind} phase.",
                f"Lower {self.kind}.lr (now {self.spec.lr:g}), or look for a division in the loss.",
            )
        return mean
