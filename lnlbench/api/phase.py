"""A phase as a method sees it: batches, optimisers, passes over the whole set, and a place to publish.

Why logits are free after linear probing (and why they are still right)::

    LP    the backbone is frozen: its features are extracted once, and all inputs are features
            │   Trial keeps them as ``cached_plain`` for the phase that follows
    FFT   inputs are images. A network is *pristine* for as long as its backbone is the one that made
          the features: until it first passes images in train mode, or an optimiser steps on it.
            ├─ pristine      phase.logits(network) = network.head(cached features): no backbone pass
            └─ no longer     phase.logits(network) = network(images): N passes, which the ledger counts

The mark is the network's own (:attr:`lnlbench.models.network.Network.pristine`), is copied and saved with
it, and is never set again within a trial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lnlbench.api.selection import Selection
from lnlbench.api.training_predictions import TrainingPredictions
from lnlbench.basics.seeding import derive_seed
from lnlbench.errors import TrialError
from lnlbench.inputs.network_inputs import Inputs, Views, Wanted
from lnlbench.models.network import Network
from lnlbench.models.transport import to_device
from lnlbench.processes.team import ALONE, Team
from lnlbench.spec import PhaseSpec, one_of

Predict = Callable[[torch.Tensor], torch.Tensor]
AddUp = Callable[[Sequence[torch.optim.Optimizer]], None]
# What can learn: a module, a parameter, several of them, or a group of an optimiser with settings of its own.
Learning = nn.Module | torch.Tensor | Iterable[nn.Module | torch.Tensor] | Mapping[str, Any]

# Samples per forward pass where no gradient is kept. Fixed, so that results do not depend on it.
EVALUATION_BATCH = 256


@dataclass(frozen=True, slots=True)
class Batch:
    """Some training samples, ready for a network.

    Attributes
    ----------
    index : torch.Tensor, int64 ``[B]``
        Which samples these are, on the CPU: 0 … N − 1, positions in ``task.labels`` and
        ``phase.labels``. A sample keeps its position in all epochs and phases of a trial.
    labels : torch.Tensor, int64 ``[B]``
        Given labels, possibly wrong, on the device.
    inputs : torch.Tensor
        Images ``[B, 3, S, S]`` or features ``[B, d]``: un-augmented, or one weak view where
        the phase says ``augmentation = "weak"``. Has no rows if the caller declined it.
    weak, strong : tuple of torch.Tensor
        As many views as were asked for, each shaped like ``inputs``.
    rows : torch.Tensor, int64 ``[B]``
        ``index`` on the device: for what a method keeps there by sample, since indexing it by ``index``
        would wait for the device. Default ``index`` itself.
    """

    index: torch.Tensor
    labels: torch.Tensor
    inputs: torch.Tensor
    weak: Views = ()
    strong: Views = ()
    rows: torch.Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.rows is None:
            object.__setattr__(self, "rows", self.index)

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
    scaler : torch.amp.GradScaler or None
        In fp16, what scales losses up for the backward pass. :meth:`step` uses it; a method that takes its
        steps itself has to.
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
        predictions: TrainingPredictions | None = None,
        scaler: torch.amp.GradScaler | None = None,
        team: Team = ALONE,
        add_up: AddUp | None = None,
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
        self.scaler = scaler
        self._inputs = inputs
        self._cached_plain = cached_plain
        self._device_labels = labels.to(device)
        self._seed = seed
        self._predictions = predictions
        self._team = team
        self._add_up = add_up  # the gradients of the processes that share passes through backbones
        self._scheduled: list[torch.optim.Optimizer] = []
        self._loss_sum = torch.zeros((), device=device)
        self._steps = 0

    # What a method asks and calls

    @property
    def kind(self) -> str:
        """Kind of the phase: ``lp``, ``fft`` or a plugin's."""
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

    # Optimisers

    def optimizer(self, *learning: Learning, lr: float | None = None) -> torch.optim.Optimizer:
        """Return the phase's optimiser over what learns in ``learning``, its schedule attached.

        Parameters
        ----------
        *learning
            Modules, parameters, or iterables of them, which make one group; and dicts, each of which is a
            group of its own: ``{"params": network.head, "lr": 0.1}``. A group's ``params`` may be any of
            the former, and its other items are settings of the optimiser.
        lr : float, optional
            Initial learning rate of what names none. Default the phase's.
        """
        spec = self.spec
        groups = [dict(item) for item in learning if isinstance(item, Mapping)]
        together = [item for item in learning if not isinstance(item, Mapping)]
        if together:
            groups.insert(0, {"params": together})
        for group in groups:
            group["params"] = [p for p in _parameters(group["params"]) if p.requires_grad]
        rate = spec.lr if lr is None else lr
        optimizer: torch.optim.Optimizer
        if spec.optimizer == "sgd":
            optimizer = torch.optim.SGD(
                groups, lr=rate, momentum=spec.momentum, weight_decay=spec.weight_decay
            )
        else:
            optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=spec.weight_decay)
        networks = [item for item in together if isinstance(item, Network) and not item.frozen]
        if networks:

            def mark(*_: object) -> None:
                for network in networks:
                    network.pristine = False

            optimizer.register_step_post_hook(mark)
        return self.schedule(optimizer)

    def schedule(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Give the phase's schedule to an optimiser that a method made itself, and return it.

        Every parameter group keeps its own initial rate (``initial_lr``, the group's ``lr`` at this
        moment), which is multiplied by the schedule's factor at the start of each epoch.
        """
        self._scheduled.append(optimizer)
        self._set_rates(optimizer)
        return optimizer

    def _set_rates(self, optimizer: torch.optim.Optimizer) -> None:
        factor = 1.0
        if self.spec.schedule == "cosine":
            factor = 0.5 * (1.0 + math.cos(math.pi * self.epoch / self.spec.epochs))
        for group in optimizer.param_groups:
            # The key that PyTorch's own schedulers use; a group that was added later has none yet.
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor

    def step(
        self, optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer], loss: torch.Tensor
    ) -> None:
        """Take one optimisation step on a scalar loss, by one optimiser or by several at once.

        In fp16 a step whose gradients overflow is left out and counted, as ``fp16_overflow``; the next loss
        is scaled up less.
        """
        optimizers = (optimizer,) if isinstance(optimizer, torch.optim.Optimizer) else optimizer
        for each in optimizers:
            each.zero_grad(set_to_none=True)
        if self.scaler is not None:
            self._scaled_step(self.scaler, optimizers, loss)
        else:
            loss.backward()  # type: ignore[no-untyped-call]
            if self._add_up is not None:
                self._add_up(optimizers)
            for each in optimizers:
                each.step()
        self.record(loss)

    def _scaled_step(
        self,
        scaler: torch.amp.GradScaler,
        optimizers: Sequence[torch.optim.Optimizer],
        loss: torch.Tensor,
    ) -> None:
        before = scaler.get_scale()
        scaled: torch.Tensor = scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]
        if self._add_up is not None:
            self._add_up(optimizers)  # now: whether one overflows is decided for all processes
        for each in optimizers:
            # The scaler refuses an optimiser that the loss does not reach.
            if any(p.grad is not None for group in each.param_groups for p in group["params"]):
                scaler.step(each)
        scaler.update()
        # It waits for the device, but so has the scaler, to know whether to step.
        if scaler.get_scale() < before:
            self.count("fp16_overflow")

    def record(self, loss: torch.Tensor) -> None:
        """Record the loss of a step that a method took itself: one that :meth:`step` cannot express.

        For optimisers that go back twice in a step (SAM), or gradients that are accumulated. The loss
        goes into the epoch's mean, and a trial with a loss that is not finite fails.
        """
        # Summed on the device: reading every loss would wait for the device every step.
        self._loss_sum += loss.detach()
        self._steps += 1

    # Batches

    def batches(
        self,
        index: torch.Tensor | None = None,
        *,
        batch_size: int | None = None,
        plain: bool = True,
        weak: int = 0,
        strong: int = 0,
        order: str = "random",
    ) -> Iterator[Batch]:
        """Go once through samples.

        Parameters
        ----------
        index : torch.Tensor, int64, optional
            Samples to go through; default all N. A sample that is in it k times comes k times, each time
            with new views (oversampling); nothing keeps it from standing in a batch twice.
        batch_size : int, optional
            Default the phase's.
        plain : bool
            Whether ``Batch.inputs`` is wanted.
        weak, strong : int
            Views per sample.
        order : {"random", "given"}
            Shuffled by the phase's generator, or as ``index`` has them: for curricula, and for batches
            that are made up by the method.

        Yields
        ------
        Batch
            The last one may be smaller; a last batch of one sample is joined to the one
            before, since batch normalisation has no variance of one sample.
        """
        one_of(order, ("random", "given"), "order of batches")
        rows = torch.arange(self.samples) if index is None else index
        if order == "random":
            rows = rows[torch.randperm(len(rows), generator=self.generator)]
        starts = list(range(0, len(rows), batch_size or self.spec.batch_size))
        if len(starts) > 1 and len(rows) - starts[-1] == 1:
            starts.pop()
            self.count("batch_of_one_joined")
        # To the device at once: from there, a batch's rows and labels come without waiting for it.
        there = to_device(rows, self.device)
        cuts = [slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True)]
        chunks = [rows[cut] for cut in cuts]
        augmented = self.spec.augmentation == "weak"
        wanted = Wanted(("weak" if augmented else "plain") if plain else None, weak, strong)
        nothing = () if plain else (torch.empty(0, device=self.device),)
        made = self._inputs.stream(chunks, wanted, self.generator)
        for chosen, cut, tensors in zip(chunks, cuts, made, strict=True):
            inputs, *views = nothing + tensors
            on_device = chosen if there is rows else there[cut]
            if self._predictions is not None:
                self._predictions.expect(on_device, *tensors)
            labels = self._device_labels[on_device]
            yield Batch(chosen, labels, inputs, tuple(views[:weak]), tuple(views[weak:]), on_device)

    def endless(
        self, index: torch.Tensor, *, batch_size: int | None = None, weak: int = 0, strong: int = 0
    ) -> Iterator[Batch]:
        """Go through ``index`` again and again, in a new order each time."""
        if not len(index):
            raise ValueError("endless batches of no samples")
        while True:
            yield from self.batches(index, batch_size=batch_size, plain=False, weak=weak, strong=strong)

    # Passes over the whole set

    def logits(self, predict: Predict | Network) -> torch.Tensor:
        """Return the logits ``[N, C]`` of all training samples; see :meth:`reduce`."""
        return self.reduce(predict, lambda logits, _: logits)

    def features(self, network: Network) -> torch.Tensor:
        """Return the features ``[N, d]`` of all training samples; see :meth:`reduce`.

        While the backbone is the one that made the features of linear probing, they are those.
        """
        with _in_eval_mode(network):
            return self._pass(network.features, self._source(network), lambda features, _: features)

    def losses(self, predict: Predict | Network) -> torch.Tensor:
        """Return each sample's cross-entropy to its given label, float64 ``[N]``, on the CPU.

        Unlike the logits ``[N, C]``, these fit into memory for any number of classes.
        """
        return self.reduce(
            predict,
            # In double precision: small losses, where clean samples lie, would round to a few values.
            lambda logits, batch: functional.cross_entropy(logits.double(), batch.labels, reduction="none"),
        ).cpu()

    def reduce(
        self, predict: Predict | Network, function: Callable[[torch.Tensor, Batch], torch.Tensor]
    ) -> torch.Tensor:
        """Pass all training samples through a network, un-augmented, in eval mode, without gradient.

        The samples pass in pieces, and only what ``function`` makes of a piece is kept, so that N × C
        numbers need not fit into memory. The cached features of linear probing are used, also after it for
        as long as the backbone is the one that made them: then the pass costs next to nothing.

        Parameters
        ----------
        predict : Network, nn.Module or callable
            From inputs to outputs ``[b, …]``. A module is in eval mode meanwhile; a function is called as
            it is, and always on the phase's inputs.
        function : callable
            From a piece's outputs and its :class:`Batch` to values ``[b, …]``.

        Returns
        -------
        torch.Tensor, ``[N, …]``
            The values of all pieces, in the order of the samples.

        Raises
        ------
        TrialError
            If outputs are not finite: no selection can be made of them.
        """

        def look(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
            if self._predictions is not None:
                self._predictions.put(batch.rows, outputs)
            return function(outputs, batch)

        if not isinstance(predict, nn.Module):
            return self._pass(predict, self._inputs, look)
        with _in_eval_mode(predict):
            return self._pass(predict, self._source(predict), look)

    def _source(self, module: nn.Module) -> Inputs:
        """Return cached features for a network whose backbone still gives them, else the phase's inputs."""
        if isinstance(module, Network) and module.pristine and self._cached_plain is not None:
            return self._cached_plain
        return self._inputs

    @torch.no_grad()
    def _pass(
        self, predict: Predict, source: Inputs, function: Callable[[torch.Tensor, Batch], torch.Tensor]
    ) -> torch.Tensor:
        # Room for all from the first piece on: small results that outlive their piece would lie between its
        # large ones in memory, which could then not be used again.
        kept: torch.Tensor | None = None
        done = 0
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        for index, inputs in source.in_order(EVALUATION_BATCH):
            outputs = predict(inputs)
            finite &= outputs.isfinite().all()  # read once, at the end: it waits for the device
            rows = to_device(index, self.device)
            values = function(outputs, Batch(index, self._device_labels[rows], inputs, rows=rows))
            if kept is None:
                kept = values.new_empty((self.samples, *values.shape[1:]))
            kept[done : done + len(values)] = values
            done += len(values)
        if not finite:
            raise TrialError(
                f"The predictions for some training samples are not finite in epoch {self.epoch + 1} "
                f"of the {self.kind} phase.",
                f"Lower {self.kind}.lr (now {self.spec.lr:g}).",
            )
        # The first process's, so that no difference in rounding gives others another selection.
        assert kept is not None  # there is no phase without samples
        return self._team.as_first(kept[:done])

    # What goes into the record

    def publish(self, selection: Selection) -> None:
        """Tell the runner which samples the method takes as clean in this epoch, and as what.

        Raises
        ------
        PluginError
            If it does not fit the training set.
        """
        selection.check(self.samples, self.classes)
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
        for optimizer in self._scheduled:
            self._set_rates(optimizer)

    def add_losses(self, total: torch.Tensor, steps: int) -> None:
        """Record the sum of the losses of steps that were taken elsewhere, together with other trials'."""
        self._loss_sum += total
        self._steps += steps

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


def _parameters(learning: Learning) -> Iterator[torch.Tensor]:
    """Yield the parameters of modules, of parameters, and of iterables of both, in their order."""
    if isinstance(learning, torch.Tensor):
        yield learning
    elif isinstance(learning, nn.Module):
        yield from learning.parameters()
    else:
        for item in learning:
            yield from _parameters(item)  # type: ignore[arg-type]


@contextmanager
def _in_eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a module into eval mode, and every part of it back into its own mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
