"""A pass through a backbone, shared by the processes of a trial.

::

    the batch  [B, 3, S, S], the same in every process
      │  each process passes its own rows                    the part that takes time
      ▼
    features of its rows  [b, d]
      │  gathered                                            backward: each takes its rows' gradient
      ▼
    features of the batch  [B, d] ─▶ head ─▶ loss            the same in every process
      │
    gradients of the backbone are added up before the step   of the head they are the same already

The loss is that of the whole batch, whatever it does with its rows: a mean, mixup, a prior over the batch.
So the sum of the processes' gradients is the gradient of one process, up to rounding, and a method's code is
that for one. This holds for what a backbone does with each image on its own. Batch normalisation is joined,
see :mod:`lnlbench.processes.joint_statistics`; what dropout leaves out is drawn by each process for its own
rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lnlbench.basics.seeding import derive_seed
from lnlbench.errors import TrialError
from lnlbench.processes.joint_statistics import join_statistics
from lnlbench.processes.team import Team


class Spread:
    """Passes batches of images through backbones, each process its own rows.

    Parameters
    ----------
    team : Team
        Of several processes.
    """

    def __init__(self, team: Team) -> None:
        self.team = team
        self._seed, self._passes = 0, 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Spread:
        return self

    def prepare(self, backbone: nn.Module) -> None:
        """Let a backbone normalise batches by the statistics of all their rows."""
        join_statistics(backbone, self.team)

    def __call__(self, backbone: nn.Module, inputs: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return the features ``[B, d]`` of a whole batch.

        Parameters
        ----------
        backbone : nn.Module
        inputs : torch.Tensor, ``[B, 3, S, S]``
            The same in every process.
        dtype : torch.dtype
            Of the features.
        """
        rows = len(inputs)
        own = inputs[self.team.share(rows)]
        self.team.idle = not len(own)
        if self.team.idle:
            # Fewer rows than processes. All of them take part in the same sums, so this one passes a row
            # too, whose features are not gathered, and whose gradient is zero.
            own = inputs[:1]
        with self._randomness(backbone, inputs.device):
            features = backbone(own).to(dtype)
        gathered: torch.Tensor = _Gather.apply(features, self.team, rows)
        return gathered

    @contextmanager
    def _randomness(self, backbone: nn.Module, device: torch.device) -> Iterator[None]:
        """Let dropout draw for each process's rows anew, and leave the generators of all alike."""
        if not backbone.training:
            yield
            return
        seed = torch.initial_seed()
        self._seed, self._passes = seed, self._passes + 1 if seed == self._seed else 0
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive_seed("process", seed, self._passes, self.team.rank))
            yield


class _Gather(torch.autograd.Function):
    """Own features → those of the batch; backward, the gradient of the own rows."""

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor, team: Team, rows: int) -> torch.Tensor:
        ctx.share, ctx.passed = team.share(rows), len(own)
        return team.gather(own[: ctx.share.stop - ctx.share.start], rows)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = gradients
        own = gradient[ctx.share]
        if len(own) < ctx.passed:
            own = gradient.new_zeros((ctx.passed, *gradient.shape[1:]))
        return own, None, None


def add_up_gradients(
    team: Team, optimizers: Sequence[torch.optim.Optimizer], backbones: Iterable[nn.Module]
) -> None:
    """Set the gradients of what optimisers step on to those of the whole batch, the same in every process.

    Parameters
    ----------
    team : Team
    optimizers : sequence of torch.optim.Optimizer
    backbones : iterable of nn.Module
        Whose gradients are those of each process's own rows, to be added up. All others are known to every
        process, and the first one's are taken, so that no difference in rounding drives them apart.
    """
    shared = {id(parameter) for backbone in backbones for parameter in backbone.parameters()}
    learning = {
        id(parameter): parameter
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    }
    if not shared & learning.keys():
        return  # the head alone learns: every process takes the same step
    kinds: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
    for key, parameter in learning.items():
        gradient: torch.Tensor = parameter.grad
        if key not in shared and not team.first:
            gradient.zero_()
        kinds.setdefault((gradient.dtype, gradient.device), []).append(gradient)
    for gradients in kinds.values():
        # Together, since many small messages take longer; in the optimisers' order, which all agree on.
        total = team.add_up(torch.cat([gradient.flatten() for gradient in gradients]))
        pieces = torch.split(total, [gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view(gradient.shape))


@torch.no_grad()
def level(team: Team, networks: Iterable[nn.Module]) -> None:
    """Give networks the weights and statistics of the first process, where a phase begins."""
    if team.alone:
        return
    for network in networks:
        for values in (*network.parameters(), *network.buffers()):
            values.copy_(team.as_first(values))


def weight_sums(networks: Iterable[nn.Module]) -> list[float]:
    """Return the sum of each tensor of weights or statistics, for :func:`check_alike`."""
    held = [values.detach().double().sum() for n in networks for values in (*n.parameters(), *n.buffers())]
    return torch.stack(held).tolist() if held else []


def check_alike(team: Team, facts: Mapping[str, object]) -> None:
    """Raise unless all processes have the same facts.

    Parameters
    ----------
    team : Team
    facts : mapping of str to value
        Under names for the user; compared as they are written.

    Raises
    ------
    TrialError
        In every process, if one has others.
    """
    every = team.heard({name: repr(value) for name, value in facts.items()})
    apart = [name for name in facts if any(other[name] != every[0][name] for other in every)]
    if apart:
        raise TrialError(
            f"The {team.size} processes of the trial have drifted apart: they differ in {', '.join(apart)}.",
            "A method that runs in several processes takes its steps with phase.step and its random numbers "
            "from the phase. Run it without --processes-per-trial.",
        )
