"""Every method that is installed with the suite keeps its rules."""

from __future__ import annotations

import pytest

from lnlbench import registry
from lnlbench.conformance import Outcome, check_method
from lnlbench.workspace import Setting, Workspace

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
    # TURN without its second step is another method; the others run in every mode.
    modes = {finding.mode for finding in report.findings if finding.outcome is Outcome.PASSED} - {"class"}
    assert modes == ({"fft", "lp-fft"} if name == "turn" else {"lp", "fft", "lp-fft"})
