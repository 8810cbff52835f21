"""Methods written from docs/methods-api.md alone: they keep all rules, and the core knows nothing of them."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from small_problem import SmallProblem, start
from torch.nn import functional

from lnlbench.conformance import Outcome, check_method
from lnlbench.trials.workspace import RunSettings, Workspace

FOLDER = Path(__file__).parent / "from_docs"
FILES = sorted(FOLDER.glob("*.py"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(RunSettings(data=None, cache=tmp_path_factory.mktemp("cache")))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"from_docs_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_authors_import_the_interface_and_components_only(path: Path) -> None:
    modules = {
        node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
    }
    ours = {module for module in modules if module is not None and module.startswith("lnlbench")}
    assert ours
    assert all(module == "lnlbench.api" or module.startswith("lnlbench.components.") for module in ours)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_they_conform_in_every_mode(path: Path, workspace: Workspace) -> None:
    report = check_method(str(path), workspace=workspace)
    assert report.passed, report
    modes = {finding.mode for finding in report.findings if finding.outcome is Outcome.PASSED} - {"class"}
    assert modes == {"lp", "fft", "lp-fft", "partial", "lora", "lp-lora"}


def test_co_teaching_drops_more_and_more() -> None:
    problem = SmallProblem()
    phase = problem.phase("lp", 4, batch_size=12)
    method = start(load("co_teaching").CoTeaching, problem, phase, forget_rate=0.5, ramp=2)
    sizes = []
    for epoch in range(4):
        problem.train(method, phase, range(epoch, epoch + 1))
        sizes.append(int(phase.selection.selected.sum()))
    assert sizes == [48, 36, 24, 24]


def test_the_noise_of_sop_follows_the_schedule_and_survives_an_interruption() -> None:
    problem = SmallProblem()
    phase = problem.phase("lp", 2, schedule="cosine")
    method = start(load("sop").SOP, problem, phase, lr_u=1.0, lr_v=2.0, start=0.1)
    problem.train(method, phase, range(1))
    state = method.state_dict()
    problem.train(method, phase, range(1, 2))
    assert [group["lr"] for group in method.noise_optimizer.param_groups] == pytest.approx([0.5, 1.0])
    other = SmallProblem()
    again = other.phase("lp", 2, schedule="cosine")
    resumed = start(load("sop").SOP, other, again, lr_u=1.0, lr_v=2.0, start=0.1)
    held = resumed.u
    resumed.load_state_dict(state)
    assert resumed.u is held  # its optimiser holds it
    assert phase.selection.labels is not None


def test_the_recorded_loss_of_sam_is_that_at_the_weights_and_its_gradient_is_not() -> None:
    problem = SmallProblem()
    phase = problem.phase("lp", 1, batch_size=64, momentum=0.0, weight_decay=0.0, lr=0.1)
    method = start(load("sam").SAM, problem, phase, rho=0.3)
    weight, bias = (p.detach().clone().requires_grad_() for p in method.network.head.parameters())

    def loss(w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(problem.features() @ w.T + b, problem.labels)

    first = torch.autograd.grad(loss(weight, bias), (weight, bias))
    norm = torch.cat([gradient.flatten() for gradient in first]).norm()
    moved = [
        (p + 0.3 * g / norm).detach().requires_grad_() for p, g in zip((weight, bias), first, strict=True)
    ]
    second = torch.autograd.grad(loss(*moved), moved)
    (recorded,) = problem.train(method, phase)
    assert recorded == pytest.approx(loss(weight, bias).item())
    for p, old, gradient in zip(method.network.head.parameters(), (weight, bias), second, strict=True):
        torch.testing.assert_close(p, old - 0.1 * gradient)


def test_fine_takes_what_lies_along_its_class_for_clean() -> None:
    problem = SmallProblem(samples=300, flipped=0.3)
    # Features along an axis for each true class, and given labels of which some are wrong.
    true = torch.arange(300) % 3
    along = torch.eye(6, dtype=torch.float64)[true] + 0.05 * torch.randn(
        300, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    phase = problem.phase("lp", 2)
    phase._inputs.values.copy_(along)
    method = start(load("fine").FINE, problem, phase, warmup=0)
    problem.train(method, phase, range(1))
    assert torch.equal(phase.selection.selected, problem.labels == true)
