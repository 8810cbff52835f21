"""Co-teaching: two networks choose the samples of small loss for each other."""

import torch

from lnlbench.api import (
    Method,
    Passes,
    Phase,
    Preset,
    Selection,
    Task,
    TrialSpec,
    UsageError,
    dataclass,
    functional,
)


class CoTeaching(Method):
    """Two networks that teach each other what they find easy (Han et al., 2018, Algorithm 1)."""

    name = "co_teaching"
    title = "Co-teaching"
    predicting_networks = 2
    presets = {  # noqa: RUF012
        "half": Preset({"forget_rate": 0.5}, "Han et al. (2018): 50 % symmetric noise", noise_aware=True)
    }

    @dataclass(frozen=True)
    class Params:
        """Share of a batch that is dropped in the end, and epochs until then."""

        forget_rate: float = 0.2
        ramp: int = 10

        def __post_init__(self) -> None:
            if not 0.0 <= self.forget_rate < 1.0 or self.ramp < 1:
                raise UsageError(
                    f"Co-teaching has forget_rate = {self.forget_rate:g} and ramp = {self.ramp}.",
                    "forget_rate must lie in [0, 1), ramp must be at least 1.",
                )

    @classmethod
    def expected_passes(cls, spec: TrialSpec, share: float) -> tuple[Passes, ...]:
        """Every sample passes through both networks with gradient."""
        return tuple(Passes(trained=2 * phase.epochs) for phase in spec.phases)

    def setup(self, task: Task) -> None:
        """Make two networks with different heads."""
        self.networks = [task.network(0), task.network(1)]
        self.epochs_done = 0

    def begin_phase(self, phase: Phase) -> None:
        """Make an optimiser for each."""
        self.optimizers = [phase.optimizer(network) for network in self.networks]

    def epoch(self, phase: Phase) -> None:
        """Let each network learn from the samples that the other one has chosen."""
        share = 1.0 - self.params.forget_rate * min(self.epochs_done / self.params.ramp, 1.0)
        selected = torch.zeros(phase.samples, dtype=torch.bool)
        score = torch.zeros(phase.samples, dtype=torch.float64, device=phase.device)
        for batch in phase.batches():
            losses = [
                functional.cross_entropy(network(batch.inputs), batch.labels, reduction="none")
                for network in self.networks
            ]
            kept = max(1, round(share * len(batch)))
            chosen = [loss.detach().argsort(stable=True)[:kept] for loss in losses]
            for number in (0, 1):
                phase.step(self.optimizers[number], losses[number][chosen[1 - number]].mean())
            easy = (losses[0] + losses[1]).detach()
            score[batch.index.to(phase.device)] = -easy.double()
            selected[batch.index[easy.argsort(stable=True)[:kept].cpu()]] = True
        phase.publish(Selection(selected, score))
        self.epochs_done += 1

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the sum of both networks' logits."""
        first, second = self.networks
        return first(inputs) + second(inputs)
