"""Every method that is installed with the suite keeps its rules."""

from __future__ import annotations

import pytest

from lnlbench import registry
from lnlbench.conformance import Outcome, check_method
from lnlbench.workspace import Setting, Workspace

COVERS = ("ce", "dividemix", "elr", "elr_plus", "gce", "turn", "unicon")
ALL = {"lp", "fft", "lp-fft"}
# TURN without its second step is another method; the others run in every mode.
MODES = {"turn": {"fft", "lp-fft"}}
OURS = [entry.name for entry in registry.methods().entries() if entry.distribution == "lnlbench"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(Setting(data=None, cache=tmp_path_factory.mktemp("cache")))


def test_the_suite_is_installed() -> None:
    assert {"ce", "gce", "elr", "elr_plus", "dividemix", "unicon", "turn"} <= set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_conforms(name: str, workspace: Workspace) -> None:
    report = check_method(name, workspace=workspace)
    assert report.passed, report
    modes = {finding.mode for finding in report.findings if finding.outcome is Outcome.PASSED} - {"class"}
    assert modes == MODES.get(name, ALL)
