"""What is printed of noise: how many labels are wrong, where they go, and how even they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from lnlbench.basics.columns import columns
from lnlbench.noise import NoiseReport


def describe_noise(title: str, report: NoiseReport, names: Sequence[str], limit: int) -> Iterator[str]:
    """Yield lines: the whole, the worst classes, the largest flows.

    Parameters
    ----------
    title : str
    report : NoiseReport
        With known true labels.
    names : sequence of str
        Of the C classes.
    limit : int
        How many classes and flows are listed.
    """
    if not report.transitions:  # of labels that are only said to be wrong
        yield f"{title}: {report.realised_rate or 0:.2%} of the labels whose truth is known are wrong"
        return
    sizes = [sum(row) for row in report.transitions]
    given = [sum(column) for column in zip(*report.transitions, strict=True)]
    total = sum(sizes)
    wrong = total - sum(row[number] for number, row in enumerate(report.transitions))
    yield f"{title}: {total:,} samples, {len(names)} classes"
    yield f"  wrong    {wrong:,} ({wrong / total:.2%})"
    most = max(range(len(given)), key=given.__getitem__)
    yield (
        f"  prior    entropy {report.entropy:.3f} of {math.log(len(names)):.3f} nats; most frequent label "
        f"{names[most]} ({given[most] / total:.2%})"
    )
    yield f"  sha256   {report.labels_sha256}"
    worst = sorted(range(len(names)), key=lambda number: -report.per_class[number])[:limit]
    yield ""
    yield from columns(
        [
            ("class", "samples", "labelled so", "wrong", "most often called"),
            *(
                (
                    names[n],
                    f"{sizes[n]:,}",
                    f"{given[n]:,}",
                    f"{report.per_class[n]:.2%}",
                    _called(report, names, n),
                )
                for n in worst
            ),
        ],
        indent="  ",
        right=(1, 2, 3),
    )
    if len(names) > limit:
        yield f"  … and {len(names) - limit} more classes (see --limit)"
    flows = report.flows(limit)
    if flows:
        yield ""
        yield from columns(
            [
                ("largest flows", "samples", "of the class"),
                *(
                    (f"{names[a]} → {names[b]}", f"{count:,}", f"{count / sizes[a]:.2%}")
                    for a, b, count in flows
                ),
            ],
            indent="  ",
            right=(1, 2),
        )


def _called(report: NoiseReport, names: Sequence[str], number: int) -> str:
    others = [(count, label) for label, count in enumerate(report.transitions[number]) if label != number]
    count, label = max(others, key=lambda pair: (pair[0], -pair[1]))
    return names[label] if count else "–"
