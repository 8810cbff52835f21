"""A third-party distribution, installed as users install it, is as good as our own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lnlbench.api import Batch
from lnlbench.errors import UsageError
from lnlbench.grids.plan import plan
from lnlbench.plugins import registry

PLUGIN = Path(__file__).parents[1] / "plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed plugin."""
    pytest.importorskip("setuptools", reason="builds the plugin without isolation, for want of a network")
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(PLUGIN, folder / "source")
    target = folder / "site"
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)], check=True
    )
    return target


@pytest.fixture(autouse=True)
def _installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(site)


def test_is_found_with_its_origin() -> None:
    entry = registry.methods().entry("label_smoothing")
    assert entry.origin == "lnlbench-label-smoothing 1.2"


def test_is_planned_on_any_grid() -> None:
    planned = plan(
        "quickstart",
        where=["tuning=lp"],
        sets=["method=label_smoothing", "methods.label_smoothing.smoothing=0.2"],
    ).planned
    assert [trial.spec.method.params for trial in planned] == [(("smoothing", 0.2),)] * 2


def test_its_own_checks_are_reported_with_the_option() -> None:
    with pytest.raises(UsageError, match=r"--set methods\.label_smoothing\.smoothing=2: smoothing is 2"):
        plan("quickstart", sets=["method=label_smoothing", "methods.label_smoothing.smoothing=2"])


def test_its_loss() -> None:
    method_class = registry.methods().load("label_smoothing")
    method = method_class.create(method_class.resolve("label_smoothing", "digits", {}))
    method.network = torch.nn.Linear(4, 3).double()  # type: ignore[assignment]
    batch = Batch(torch.arange(5), torch.tensor([0, 1, 2, 0, 1]), torch.randn(5, 4).double())
    log_p = method.network(batch.inputs).log_softmax(1)
    expected = -(0.9 * log_p[torch.arange(5), batch.labels] + 0.1 * log_p.mean(1)).mean()
    torch.testing.assert_close(method.loss(batch), expected)
