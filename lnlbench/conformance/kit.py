"""Check a method: first what it declares, then what it does in every tuning mode it supports."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lnlbench.api import Method
from lnlbench.conformance.declaration import DECLARATION_RULES, Declaration
from lnlbench.conformance.findings import DECLARATION, Finding, Outcome, Report
from lnlbench.conformance.kit_problem import CHECKED_MODES, kind_declines, lend_texts, trial_spec
from lnlbench.conformance.training import TRAINING_RULES, Training
from lnlbench.plugins import registry
from lnlbench.trials.workspace import RunSettings, Workspace


def check_method(
    method: str | type[Method],
    *,
    workspace: Workspace | None = None,
    progress: Callable[[Finding], None] | None = None,
) -> Report:
    """Run all checks on a method.

    Parameters
    ----------
    method : str or type of Method
        Registered name, ``FILE.py[:Class]``, or the class itself.
    workspace : Workspace, optional
        To share weights and features between several checks. Default: one with a cache in a
        temporary folder, on the CPU, with all cores.
    progress : callable, optional
        Called with each finding as it is made.

    Returns
    -------
    Report
        Prints as a table; ``report.passed`` says whether the method conforms.

    Raises
    ------
    PluginError
        If there is no such method, or it cannot be loaded.
    """
    started = time.perf_counter()
    declaration, origin = _find(method)
    findings = []
    with tempfile.TemporaryDirectory(prefix="lnlbench-check-") as folder:
        if workspace is None:
            workspace = Workspace(RunSettings(data=None, cache=Path(folder), threads=1))
        for finding in _examine(declaration, workspace):
            findings.append(finding)
            if progress is not None:
                progress(finding)
    return Report(declaration.name, origin, tuple(findings), time.perf_counter() - started)


def _find(method: str | type[Method]) -> tuple[Declaration, str]:
    """Return the class with its name, and where it comes from."""
    if isinstance(method, type):
        return Declaration(method.__name__, method), method.__module__
    methods = registry.methods()
    by_path = ".py" in method
    entry = methods.add_path(method) if by_path else methods.entry(method)
    return Declaration(entry.name, methods.load(entry.name)), entry.origin


def _examine(declaration: Declaration, workspace: Workspace) -> Iterator[Finding]:
    usable = True
    for rule in DECLARATION_RULES:
        finding = rule.judge(declaration, DECLARATION)
        yield finding
        if finding.outcome is Outcome.FAILED and rule.name in ("parameters", "supports"):
            usable = False
    covered: frozenset[str] = frozenset()
    for tuning in CHECKED_MODES if usable else ():
        spec = trial_spec(declaration.resolve(), tuning)
        declined = kind_declines(spec) or declaration.skips(spec)
        if declined is not None:
            first = TRAINING_RULES[0]
            yield Finding(tuning, first.name, first.sentence, Outcome.NOT_APPLICABLE, declined.reason)
            continue
        if declaration.method_class.reads_texts(spec):
            lend_texts(workspace)
        training = Training(declaration.method_class, spec, workspace, covered)
        yield from _train(training)
        covered |= training.kinds


def _train(training: Training) -> Iterator[Finding]:
    for number, rule in enumerate(TRAINING_RULES):
        finding = rule.judge(training, training.spec.tuning)
        yield finding
        if number == 0 and finding.outcome is Outcome.FAILED:
            return  # the others look at a trial that runs
