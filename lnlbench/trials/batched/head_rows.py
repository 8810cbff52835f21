"""The heads of K trials as rows of one matrix: logits in one product, losses by method, one backward pass.

::

    features [B, d] ──▶ · W [K·C, d]ᵀ ──▶ logits [K, B, C] ──▶ Method.head_losses ──▶ losses [K]
                                              ▲ gradient of their sum: heads do not depend on each other
    W, b ◀── a step for all heads ◀── gradient ᵀ · features
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import nn

from lnlbench.api import Batch, Heads, Method, Predictions
from lnlbench.api.phase import EVALUATION_BATCH
from lnlbench.errors import PluginError, TrialError
from lnlbench.inputs.network_inputs import Inputs
from lnlbench.trials.batched.row_optimizers import RowOptimizer, can_step, kind_of, rows_of
from lnlbench.trials.measuring.accuracy import looked_at, not_finite, predictions_from
from lnlbench.trials.trial import Trial


def fits_together(trial: Trial) -> bool:
    """Whether a trial that has begun its phase is one for :class:`HeadRows`: a linear head, nothing else."""
    networks, optimizer = trial.model.networks, getattr(trial.method, "optimizer", None)
    if len(networks) != 1 or type(networks[0].head) is not nn.Linear or optimizer is None:
        return False
    own = [id(parameter) for parameter in networks[0].head.parameters()]
    return can_step(optimizer) and own == [id(parameter) for parameter in optimizer.param_groups[0]["params"]]


def order_of(trial: Trial) -> tuple[str, ...]:
    """Return what to sort trials by: those of one optimiser, and there of one method, are neighbours."""
    return repr(kind_of(trial.method.optimizer)), trial.spec.method.name


@dataclass(frozen=True, slots=True)
class _Block:
    """Neighbouring rows of one method."""

    rows: slice
    method: type[Method]
    heads: Heads


class HeadRows:
    """Trains the heads of trials that are in the same epoch of the same phase on the same batches.

    The trials' own heads, states of optimisers and training predictions are rows of tensors of ours, so that
    all that a trial does by itself (checkpoints, verdicts, models) finds them where they always are.

    Parameters
    ----------
    trials : sequence of Trial
        Sorted by :func:`order_of`; each :func:`fits_together`.

    Attributes
    ----------
    trials : tuple of Trial
    weights : torch.Tensor, ``[K, C, d]``
    biases : torch.Tensor, ``[K, C]``
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.trials = tuple(trials)
        first = self.trials[0]
        heads = [trial.model.networks[0].head for trial in self.trials]
        self.weights = torch.stack([head.weight.detach() for head in heads])
        self.biases = torch.stack([head.bias.detach() for head in heads])
        for head, weight, bias in zip(heads, self.weights, self.biases, strict=True):
            head.weight.data, head.bias.data = weight, bias
        self._classes, features = self.weights.shape[1:]
        self._flat = self.weights.view(-1, features), self.biases.view(-1)
        rows = [tensor.view(len(self.trials), -1) for tensor in (self.weights, self.biases)]
        self._gradients = [torch.empty_like(tensor) for tensor in rows]
        samples = len(first.problem.train_labels)
        self._now = torch.empty((len(heads), samples), dtype=torch.int16, device=self.weights.device)
        for trial, now in zip(self.trials, self._now, strict=True):
            trial.keep_predictions(now)
        self._blocks = list(self._by_method())
        self._steppers = list(self._by_optimizer(rows))

    def _by_method(self) -> Iterator[_Block]:
        start = 0
        for method, group in groupby(self.trials, lambda trial: type(trial.method)):
            methods = [trial.method for trial in group]
            rows = slice(start, start + len(methods))
            yield _Block(rows, method, Heads(methods, self.weights))
            start = rows.stop

    def _by_optimizer(self, parameters: Sequence[torch.Tensor]) -> Iterator[tuple[slice, RowOptimizer]]:
        start = 0
        for _, group in groupby((trial.method.optimizer for trial in self.trials), kind_of):
            optimizers = list(group)
            rows = slice(start, start + len(optimizers))
            yield rows, rows_of(optimizers, [parameter[rows] for parameter in parameters])
            start = rows.stop

    def __len__(self) -> int:
        return len(self.trials)

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of all heads, ``[K, B, C]``.

        Parameters
        ----------
        inputs : torch.Tensor, ``[B, d]``
        """
        weights, biases = self._flat
        product = torch.addmm(biases, inputs, weights.T)
        return product.view(len(inputs), len(self), self._classes).transpose(0, 1).contiguous()

    def train(self) -> None:
        """Train all heads for the epoch that their trials have begun."""
        first = self.trials[0].phase
        events = dict(first.events)
        total = self.weights.new_zeros(len(self))
        steps = samples = 0
        for _, stepper in self._steppers:
            stepper.begin_epoch()
        for batch in first.batches():
            total += self.step(batch)
            steps += 1
            samples += len(batch)
        for _, stepper in self._steppers:
            stepper.end_epoch()
        for number, trial in enumerate(self.trials):
            trial.phase.add_losses(total[number], steps)
            for counter in ("head_forward_grad", "head_backward"):
                trial.ledger.add("training", counter, samples)
            if trial.phase is not first:  # what its batches would have counted
                for event, times in first.events.items():
                    if more := times - events.get(event, 0):
                        trial.phase.count(event, more)

    @torch.no_grad()
    def step(self, batch: Batch) -> torch.Tensor:
        """Take a step of all heads on one batch, and return their losses before it, ``[K]``.

        Raises
        ------
        PluginError
            If a method's losses have not the shape that they should have.
        """
        logits = self.logits(batch.inputs)
        self._now[:, batch.rows] = logits.argmax(2).to(torch.int16)
        losses, gradient = self._losses(logits, batch)
        flat = gradient.transpose(0, 1).reshape(len(batch), -1)
        weights, biases = self._gradients
        torch.mm(flat.T, batch.inputs, out=weights.view(flat.shape[1], -1))
        torch.sum(flat, 0, out=biases.view(-1))
        for rows, stepper in self._steppers:
            stepper.step((weights[rows], biases[rows]))
        return losses

    def _losses(self, logits: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the losses, ``[K]``, and the gradient of their sum by the logits, ``[K, B, C]``."""
        found, gradients = [], []
        for block in self._blocks:
            with torch.enable_grad():
                own = logits[block.rows].detach().requires_grad_()
                losses = block.method.head_losses(block.heads, own, batch)
                if losses.shape != (len(own),):
                    raise PluginError(
                        f"{block.method.__name__}.head_losses() returned {list(losses.shape)} losses for "
                        f"{len(own)} heads.",
                        "It returns one loss for each of them, the mean over the batch.",
                    )
                (gradient,) = torch.autograd.grad(losses.sum(), own)
            found.append(losses.detach())
            gradients.append(gradient)
        return torch.cat(found), torch.cat(gradients)

    @torch.no_grad()
    def predictions(self, inputs: Inputs, labels: torch.Tensor) -> list[Predictions | TrialError]:
        """Return what each head says of a split, or why it says nothing, from one pass.

        Parameters
        ----------
        inputs : Inputs
        labels : torch.Tensor, int64 ``[N]``
        """
        parts = []
        finite = torch.ones(len(self), dtype=torch.bool, device=self.weights.device)
        for index, batch in inputs.in_order(EVALUATION_BATCH):
            logits = self.logits(batch)
            finite &= logits.isfinite().flatten(1).all(1)
            parts.append(looked_at(logits, labels[index]).cpu())
        looked = torch.cat(parts, 1)
        for trial in self.trials:
            trial.ledger.add("evaluation", "head_forward", len(inputs))
        return [
            predictions_from(of_head, labels, self._classes) if is_finite else not_finite()
            for of_head, is_finite in zip(looked, finite.tolist(), strict=True)
        ]
