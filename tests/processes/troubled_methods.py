"""Plugins: methods that go wrong in one of the processes that share a trial."""

from __future__ import annotations

import os
import signal

import torch
import torch.distributed

from lnlbench.api import Batch, Method, Phase, functional


def in_second() -> bool:
    """Whether this is the second process of a trial."""
    return torch.distributed.is_initialized() and torch.distributed.get_rank() == 1


class _Troubled(Method):
    """CE, until its third step."""

    def begin_phase(self, phase: Phase) -> None:
        super().begin_phase(phase)
        self.steps = 0

    def loss(self, batch: Batch) -> torch.Tensor:
        self.steps += 1
        if self.steps == 3:
            self.go_wrong()
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)

    def go_wrong(self) -> None:
        """Do what the subclass is for."""


class Killed(_Troubled):
    """Its second process is killed."""

    distributed = True

    def go_wrong(self) -> None:
        if in_second():
            os.kill(os.getpid(), signal.SIGKILL)


class Raising(_Troubled):
    """Its second process meets a mistake."""

    distributed = True

    def go_wrong(self) -> None:
        if in_second():
            raise ValueError("only here")


class RaisingFirst(_Troubled):
    """Its first process meets a mistake."""

    distributed = True

    def go_wrong(self) -> None:
        if not in_second():
            raise ValueError("in the first")


class OwnSteps(Method):
    """Takes its steps itself, and says that it can be shared all the same."""

    distributed = True

    def epoch(self, phase: Phase) -> None:
        for batch in phase.batches():
            loss = functional.cross_entropy(self.network(batch.inputs), batch.labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            phase.record(loss)


class Unable(Method):
    """Says nothing of processes."""

    def loss(self, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)
