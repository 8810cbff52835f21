"""What a comparison with the paper consists of: numbers, cells, settings, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lnlbench.analysis.comparison.protocol import Difference
from lnlbench.analysis.comparison.published import Key, PublishedTable, Quantity
from lnlbench.analysis.comparison.ranking import Lead, Ranking, Standing, mean_tau
from lnlbench.analysis.comparison.tolerance import Verdict
from lnlbench.analysis.stats import Summary


@dataclass(frozen=True, slots=True)
class Number:
    """One number of a cell, published and measured.

    Attributes
    ----------
    quantity : Quantity
    published : float or None
    measured : Summary or None
        Mean and sample standard deviation over seeds.
    difference : float or None
        Measured mean minus published.
    allowed : float or None
        The tolerance of this difference.
    verdict : Verdict
    """

    quantity: Quantity
    published: float | None
    measured: Summary | None
    difference: float | None
    allowed: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ComparedCell:
    """The numbers of one entrant, in the order of the table's quantities.

    Attributes
    ----------
    entrant : tuple of str
    numbers : tuple of Number
    notes : tuple of str
        Why it is empty, or what else must be known of it.
    complete : bool
        Whether all trials that stand for it are done, and there are some.
    """

    entrant: Key
    numbers: tuple[Number, ...]
    notes: tuple[str, ...]
    complete: bool

    @property
    def verdict(self) -> Verdict:
        """The worst of its numbers' verdicts."""
        found = {number.verdict for number in self.numbers}
        order = (Verdict.DIFFERS, Verdict.MISSING, Verdict.AGREES)
        return next((verdict for verdict in order if verdict in found), Verdict.UNPUBLISHED)


@dataclass(frozen=True, slots=True)
class Group:
    """One setting: everything that is ranked against each other.

    Attributes
    ----------
    setting : tuple of str
        In the paper.
    measured : tuple of str or None
        Of the runs that stand for it; None if there are none.
    cells : tuple of ComparedCell
    rankings : tuple of Ranking
        One per quantity.
    leads : tuple of Lead
        One per quantity in which the entrant of the paper's claim leads in the paper.
    """

    setting: Key
    measured: Key | None
    cells: tuple[ComparedCell, ...]
    rankings: tuple[Ranking, ...]
    leads: tuple[Lead, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table of the paper beside our results.

    Attributes
    ----------
    table : PublishedTable
    groups : tuple of Group
    differences : tuple of Difference
        Between the protocol of the runs and the paper's. If there are any, cells cannot be
        expected to agree, and only rankings are judged.
    strangers : mapping of tuple of str to int
        Entrants that the paper does not have, with their number of trials.
    remarks : tuple of str
        What must be known of the measurements as a whole.
    """

    table: PublishedTable
    groups: tuple[Group, ...]
    differences: tuple[Difference, ...]
    strangers: Mapping[Key, int]
    remarks: tuple[str, ...]

    @property
    def cells(self) -> tuple[ComparedCell, ...]:
        """The cells of all groups."""
        return tuple(cell for group in self.groups for cell in group.cells)

    @property
    def measured(self) -> bool:
        """Whether there is any number to compare with."""
        return any(number.measured is not None for cell in self.cells for number in cell.numbers)

    @property
    def complete(self) -> bool:
        """Whether every published number is compared with all that was planned for it."""
        return all(cell.complete for cell in self.cells)

    def mean_tau(self, quantity: Quantity) -> float | None:
        """Return the mean of Kendall's τ over all settings in which it is defined."""
        return mean_tau(
            [ranking for group in self.groups for ranking in group.rankings if ranking.quantity == quantity]
        )

    def count(self, verdict: Verdict) -> int:
        """Return the number of cells with a verdict."""
        return sum(cell.verdict is verdict for cell in self.cells)

    def mismatches(self, least_tau: float | None = None) -> tuple[str, ...]:
        """Return what contradicts the paper, as statements.

        Cells that differ, where the protocol is the paper's; leads that the paper claims and
        that are lost by more than the tolerance; and a mean τ below ``least_tau``.
        """
        statements = []
        apart = 0 if self.differences else self.count(Verdict.DIFFERS)
        if apart:
            statements.append(f"{apart} of {len(self.cells)} cells differ")
        leads = [lead for group in self.groups for lead in group.leads]
        lost = sum(lead.standing is Standing.BEHIND for lead in leads)
        if lost:
            statements.append(f"who leads in the paper is behind in {lost} of {len(leads)} rankings")
        if least_tau is not None:
            for quantity in self.table.quantities:
                found = self.mean_tau(quantity)
                if found is not None and found < least_tau:
                    statements.append(f"the mean τ of {quantity.label} is {found:.2f}, below {least_tau:g}")
        return tuple(statements)
