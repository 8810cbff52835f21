"""The conformance kit: does a method keep the rules of the suite?

``lnlbench check METHOD`` on the command line; in the tests of a plugin::

    from lnlbench.conformance import check_method

    def test_conforms():
        report = check_method("my_method")
        assert report.passed, report

A method is judged by what it does on a small real problem (:mod:`lnlbench.conformance.problem`),
in every tuning mode that it supports. What cannot be seen there stays open: a method that reads
the files of a data set behind the runner's back, for example, is not found out.
"""

from __future__ import annotations

from lnlbench.conformance.check import check_method
from lnlbench.conformance.report import Finding, Outcome, Report

__all__ = ["Finding", "Outcome", "Report", "check_method"]
