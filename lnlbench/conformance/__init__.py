"""The conformance kit: does a method, a backbone, a data set or a metric keep the rules of the suite?

``lnlbench check NAME`` on the command line; in the tests of a plugin::

    from lnlbench.conformance import check_method

    def test_conforms():
        report = check_method("my_method")
        assert report.passed, report

:func:`check_backbone`, :func:`check_dataset` and :func:`check_metric` do the same for these;
:func:`check_plugin` finds the kind.

A method is judged by what it does on a small real problem (:mod:`lnlbench.conformance.kit_problem`),
in every tuning mode that it supports. What cannot be seen there stays open: a method that reads
the files of a data set behind the runner's back, for example, is not found out.
"""

from __future__ import annotations

from lnlbench.conformance.findings import Finding, Outcome, Report
from lnlbench.conformance.kit import check_method
from lnlbench.conformance.kit_by_kind import check_backbone, check_dataset, check_metric, check_plugin

__all__ = [
    "Finding",
    "Outcome",
    "Report",
    "check_backbone",
    "check_dataset",
    "check_method",
    "check_metric",
    "check_plugin",
]
