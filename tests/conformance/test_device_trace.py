"""Trials on a stand-in for a GPU: what mixes devices is refused, and what waits for the device is counted."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lnlbench.api import Batch, Method, Phase, Skip, Task, functional
from lnlbench.components.mixing import Mixup
from lnlbench.conformance.device_trace import (
    Crossings,
    MixedDevicesError,
    crossings_per_step,
    judge,
    mark_steps,
    tracing,
)
from lnlbench.conformance.kit_problem import trial_spec
from lnlbench.conformance.rehearsal import META, TraceWorkspace
from lnlbench.conformance.rules import NotApplicable, Verdict
from lnlbench.plugins import registry
from lnlbench.spec import BackboneSpec, PhaseSpec, TrialSpec
from lnlbench.trials.problem import prepare_problem
from lnlbench.trials.trial import Trial
from lnlbench.trials.workspace import RunSettings, Workspace

METHODS = ("ce", "gce", "elr", "elr_plus", "turn", "dividemix", "unicon")
BACKBONE = BackboneSpec("timm:test_efficientnet", weights="none", image_size=32)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(RunSettings(data=None, cache=tmp_path_factory.mktemp("cache")))


def small(method: str, tuning: str, **params: Any) -> TrialSpec:
    """Return a trial of some steps of the method's own in each phase."""
    method_class = registry.methods().load(method)
    if method in ("dividemix", "unicon"):
        params = {"warmup": 0, **params}
    spec = trial_spec(method_class.resolve(method, "digits", params), tuning)
    phases = tuple(PhaseSpec(phase.kind, epochs=1, batch_size=4, lr=1e-3) for phase in spec.phases)
    return replace(spec, backbone=BACKBONE, phases=phases)


def follow(spec: TrialSpec, workspace: Workspace) -> tuple[Trial, Crossings]:
    with tracing() as crossings:
        trial = Trial(spec, TraceWorkspace(workspace))
        mark_steps(trial, crossings.steps, lambda: len(crossings.places))
        for _ in trial.epochs():
            pass
    return trial, crossings


@pytest.mark.parametrize("tuning", ["lp", "fft", "lp-fft"])
@pytest.mark.parametrize("method", METHODS)
def test_no_method_mixes_devices_and_no_step_waits(method: str, tuning: str, workspace: Workspace) -> None:
    spec = small(method, tuning)
    if isinstance(registry.methods().load(method).supports(spec), Skip):
        pytest.skip("declined")
    trial, crossings = follow(spec, workspace)
    assert len(crossings.steps) > 2
    assert crossings.per_step() == 0, crossings.frequent()
    assert all(p.is_meta for network in trial.model.networks for p in network.parameters())


@pytest.mark.parametrize("method", ["ce", "unicon"])
@pytest.mark.parametrize("tuning", ["lp", "fft"])
def test_no_step_waits_for_data_that_do_not_fit(
    method: str, tuning: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lnlbench.models.transport.fits", lambda size, device: False)
    _, crossings = follow(small(method, tuning), workspace)
    assert crossings.per_step() == 0, crossings.frequent()


def test_targets_on_the_cpu_wait_in_each_step(workspace: Workspace) -> None:
    _, crossings = follow(small("elr", "lp", place="cpu"), workspace)
    assert crossings.per_step() > 0


class Weighted(Method):
    """Weights of samples, which it forgets to put on the device."""

    def setup(self, task: Task) -> None:
        super().setup(task)
        self.weights = torch.ones(task.samples)

    def loss(self, batch: Batch) -> torch.Tensor:
        losses = functional.cross_entropy(self.network(batch.inputs), batch.labels, reduction="none")
        return (self.weights[batch.index] * losses).mean()  # mixes


class Indexed(Weighted):
    """Indexes an array of the CPU by one of the device."""

    def loss(self, batch: Batch) -> torch.Tensor:
        return self.weights[batch.labels].sum() * 0.0 + super().loss(batch)  # mixes


class InAComponent(Weighted):
    """Gives a component of the suite what is not on the device."""

    def loss(self, batch: Batch) -> torch.Tensor:
        mix = Mixup(0.6, torch.arange(len(batch)))
        mixed = mix(torch.stack([batch.inputs.sum(1), self.weights[batch.index]]))  # mixes
        return mixed.sum()


class OwnGenerator(Method):
    """Draws noise on the device from a generator of the CPU."""

    def loss(self, batch: Batch) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand(len(batch), generator=generator, device=batch.labels.device)  # mixes
        return functional.cross_entropy(self.network(batch.inputs), batch.labels) + noise.sum()


class ToNumpy(Method):
    """Takes an array of the device to numpy."""

    def loss(self, batch: Batch) -> torch.Tensor:
        loss = functional.cross_entropy(self.network(batch.inputs), batch.labels)
        return loss * float(batch.labels.numpy().size > 0)  # mixes


class Right(Weighted):
    """Does the same, on the device."""

    def setup(self, task: Task) -> None:
        super().setup(task)
        self.weights = self.weights.to(task.device)


class Masked(Method):
    """Leaves out samples by a condition on the device, which is allowed and waits."""

    def loss(self, batch: Batch) -> torch.Tensor:
        losses = functional.cross_entropy(self.network(batch.inputs), batch.labels, reduction="none")
        return losses[losses < losses.mean()].sum()


class NeedsValues(Method):
    """Cannot be followed without values."""

    def loss(self, batch: Batch) -> torch.Tensor:
        return torch.linalg.eigvals(batch.inputs.T @ batch.inputs).sum()


def verdict(method_class: type[Method], workspace: Workspace) -> Verdict:
    spec = trial_spec(method_class.resolve("method", "digits", {}), "lp")
    return judge(method_class, spec, workspace, prepare_problem(spec, workspace))


def line_of(method_class: type[Method], text: str) -> str:
    lines, first = inspect.getsourcelines(method_class)
    (number,) = (first + n for n, line in enumerate(lines) if line.rstrip().endswith(text))
    return f"{__file__}:{number}"


@pytest.mark.parametrize("method_class", [Weighted, Indexed, InAComponent, OwnGenerator])
def test_what_mixes_devices_is_named_with_its_line(method_class: type[Method], workspace: Workspace) -> None:
    said = verdict(method_class, workspace)
    assert isinstance(said, str)
    assert line_of(method_class, "# mixes") in said


def test_numpy_on_the_device(workspace: Workspace) -> None:
    said = verdict(ToNumpy, workspace)
    assert isinstance(said, str)
    assert "call .cpu() first" in said
    assert line_of(ToNumpy, "# mixes") in said


@pytest.mark.parametrize("method_class", [Right, Masked])
def test_what_keeps_them_apart_passes(method_class: type[Method], workspace: Workspace) -> None:
    assert verdict(method_class, workspace) is None


def test_a_trace_keeps_nothing_and_measures_nothing(tmp_path: Path) -> None:
    workspace = Workspace(RunSettings(data=None, cache=tmp_path / "cache"))
    assert verdict(Right, workspace) is None
    assert not (tmp_path / "cache").exists()


def crossings_of(function: Any) -> list[str]:
    with tracing() as crossings:
        function()
    return [place.partition(" ")[0] for place in crossings.places]


def test_what_waits_is_a_crossing() -> None:
    here, there = torch.rand(3), torch.rand(3, device=META)
    assert crossings_of(lambda: here.to(META)) == ["_to_copy"]
    assert crossings_of(lambda: there.cpu()) == ["_to_copy"]
    assert crossings_of(lambda: there.copy_(here)) == ["copy_"]
    assert crossings_of(lambda: here.copy_(there)) == ["copy_"]
    assert crossings_of(lambda: there.sum().item()) == ["_local_scalar_dense"]
    assert crossings_of(lambda: bool((there > 0).all())) == ["_local_scalar_dense"]
    assert crossings_of(lambda: there[there > 0.5]) == ["index"]
    assert crossings_of(lambda: there[torch.tensor([0, 1])]) == ["index"]
    assert crossings_of(lambda: there.nonzero()) == ["nonzero"]
    assert crossings_of(lambda: torch.tensor([1.0], device=META)) == ["tensor"]


def test_what_does_not_wait_is_none() -> None:
    here, there = torch.rand(3), torch.rand(3, device=META)
    assert not crossings_of(lambda: here.to(META, non_blocking=True))
    assert not crossings_of(lambda: there.copy_(here, non_blocking=True))
    assert not crossings_of(lambda: there * here.sum())  # a kernel takes a number of the CPU as it is
    assert not crossings_of(lambda: (there + 1.0).exp_().sum())
    assert not crossings_of(lambda: here[here > 0.5].sum().item())
    assert not crossings_of(lambda: torch.arange(3, device=META).float())


def test_mixing_is_refused() -> None:
    here, there = torch.rand(3), torch.rand(3, device=META)
    for mix in (
        lambda: here + there,
        lambda: here * there.sum(),  # CUDA takes numbers of the CPU, not the other way
        lambda: torch.cat([here, there]),
        lambda: here[torch.zeros(1, dtype=torch.int64, device=META)],
    ):
        with tracing(), pytest.raises(MixedDevicesError):
            mix()


def test_what_is_read_from_the_device_has_shape_and_type() -> None:
    with tracing():
        values = torch.zeros(2, 5, device=META).cpu()
        whole = torch.zeros(4, dtype=torch.int64, device=META).cpu()
    assert (values.shape, values.dtype, values.device.type) == ((2, 5), torch.float32, "cpu")
    assert (whole.shape, whole.dtype) == ((4,), torch.int64)


def test_selections_count_for_no_step() -> None:
    assert crossings_per_step([-1, 10, 12, 14, 90, 92, -1, 100, 102]) == 2
    assert crossings_per_step([-1, 10, -1, 20]) == 0


def test_steps_are_marked_and_the_phase_left_as_it_was(workspace: Workspace) -> None:
    trial = Trial(small("ce", "lp"), workspace)
    count = iter(range(100))
    steps: list[int] = []
    mark_steps(trial, steps, lambda: next(count))
    for _ in trial.epochs():
        pass
    samples = len(trial.problem.train_labels)
    expected = -(-samples // 4) - (samples % 4 == 1)
    assert steps == [-1, *range(expected)]
    assert trial.phase.record.__func__ is Phase.record  # type: ignore[attr-defined]


def test_values_that_are_needed_are_no_mistake(workspace: Workspace) -> None:
    said = verdict(NeedsValues, workspace)
    assert said is None or isinstance(said, NotApplicable)
