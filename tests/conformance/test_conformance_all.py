"""Every method that is installed with the suite keeps its rules."""

from __future__ import annotations

import pytest

from lnlbench.conformance import Outcome, check_method
from lnlbench.plugins import registry
from lnlbench.trials.workspace import RunSettings, Workspace

# fmt: off
COVERS = (
    "ce", "dividemix", "elr", "elr_plus", "gce", "turn", "unicon",
    "ce_entropy", "ce_regularised", "knn", "nce_rce", "ncm", "sce", "select_then_tune", "wann",
    "ssr", "cufit", "zero_shot", "clipcleaner", "deft",
)
# fmt: on
ALL = {"lp", "fft", "lp-fft", "partial", "lora", "lp-lora"}
# TURN without its second step is another method, and what trains nothing has no fine-tuning; the others run
# in every mode.
MODES = {
    "turn": ALL - {"lp"},
    "ncm": {"lp"},
    "knn": {"lp"},
    "wann": {"lp"},
    "cufit": {"lp"},
    "zero_shot": {"lp"},
}
OURS = [entry.name for entry in registry.methods().entries() if entry.distribution == "lnlbench"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(RunSettings(data=None, cache=tmp_path_factory.mktemp("cache")))


def test_the_suite_is_installed() -> None:
    assert set(COVERS) <= set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_conforms(name: str, workspace: Workspace) -> None:
    report = check_method(name, workspace=workspace)
    assert report.passed, report
    modes = {finding.mode for finding in report.findings if finding.outcome is Outcome.PASSED} - {"class"}
    assert modes == MODES.get(name, ALL)
