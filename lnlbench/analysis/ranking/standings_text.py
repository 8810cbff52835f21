"""A ranking as text, Markdown or JSON."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Sequence

from lnlbench.analysis.names import clean
from lnlbench.analysis.quantities import quantity
from lnlbench.analysis.ranking.order_tests import enough, least_p
from lnlbench.analysis.ranking.resampling import POWER, RESAMPLES
from lnlbench.analysis.ranking.standings import Entrant, Standings
from lnlbench.analysis.stats import CONFIDENCE

# More pairs, or reasons, than these are counted, and stand in full in JSON.
_PAIRS = 20
_REASONS = 12


def headings(standings: Standings) -> tuple[str, ...]:
    """Return the headings of the table of entrants."""
    score = quantity(standings.metric).label
    return (
        "",
        "method",
        "average rank",
        score,
        "first",
        "won / tied / lost",
        "regret (largest)",
        "cost / CE FFT",
    )


def line_of(position: int, entrant: Entrant) -> tuple[str, ...]:
    """Return one entrant as texts, in the order of :func:`headings`."""
    tally = entrant.tally
    unknown = f" ({tally.unknown} unknown)" if tally.unknown else ""
    cost = "–" if entrant.cost is None else f"{entrant.cost:.{2 if entrant.cost >= 0.1 else 4}f}"
    return (
        str(position),
        clean(entrant.name),
        f"{entrant.rank[0]:.2f}{span(entrant.rank[1:])}",
        f"{entrant.score:.2f}",
        f"{100 * entrant.first:.0f} %",
        f"{tally.wins} / {tally.ties} / {tally.losses}{unknown}",
        f"{entrant.regret[0]:.2f} ({entrant.regret[1]:.2f})",
        f"{cost}{' *' if entrant.front else ''}",
    )


def span(ends: Sequence[float]) -> str:
    """Return an interval in brackets; nothing where there is none."""
    return "" if any(map(math.isnan, ends)) else f" [{ends[0]:.2f}, {ends[1]:.2f}]"


def sentences(standings: Standings) -> list[str]:
    """Return what must be said about a ranking, in sentences."""
    least, most = standings.seeds
    seeds = _plural(most, "seed") if least == most else f"{least} to {most} seeds"
    count = len(standings.settings)
    number = quantity(standings.metric).axis or quantity(standings.metric).label
    better = quantity(standings.metric).better
    extreme, side = ("lowest", "below") if better == "lower" else ("highest", "above")
    # Of a number like purity nobody can say which is the best.
    best, good = ("best", "good") if better else ("highest", "high")
    first = f"best, which is the {extreme}" if better == "lower" else best
    text = [
        f"{len(standings.entrants)} methods in {_plural(count, 'setting')}, {seeds} each: {number}, "
        f"means over seeds, then over settings; rank 1 is the {first}."
    ]
    if (test := standings.friedman) is not None:
        text.append(
            f"Friedman: chi-squared {test.statistic:.2f} with {len(standings.entrants) - 1} degrees of "
            f"freedom, p = {p_text(test.p)}; Kendall's W {test.agreement:.2f} (0: settings rank at random, "
            "1: all alike)."
        )
    apart = sum(pair.separable for pair in standings.pairs)
    over_settings = standings.unit == "settings" and count > 1
    what = "over settings" if over_settings else "over the seeds of all settings"
    text.append(
        f"{apart} of {len(standings.pairs):,} pairs are separable: Wilcoxon's signed-rank tests "
        f"{what} with Holm's correction, so that {1 - CONFIDENCE:.0%} of rankings at most make a false claim."
    )
    if not over_settings:
        text[-1] += " They speak of these settings with other seeds, and not of other settings."
    if not standings.enough:
        text[-1] += f" {too_few(standings)}"
    about = "further settings" if over_settings else "other seeds"
    text.append(
        f"Intervals: {CONFIDENCE:.0%}, nested bootstrap of settings, then seeds ({RESAMPLES:,} resamples); "
        f"of ranks about further settings, of differences about {about}, not corrected for the number of "
        f"pairs. First: share of resamples in which the mean is the {extreme}."
    )
    if not math.isnan(standings.smallest):
        text.append(
            f"A difference of {standings.smallest:.2f} (median over pairs) would be seen with probability "
            f"{POWER:.0%}; smaller ones are likely to be missed."
        )
    pairing = (
        "" if standings.shared else " where trials of a seed have those in common, else by Welch's interval"
    )
    text.append(
        "Won, tied, lost: comparisons with all others in single settings, in pairs of trials of one seed, "
        f"which share data and wrong labels{pairing}; of a win, the {CONFIDENCE:.0%} interval lies {side} "
        f"0, without correction. Regret: mean (largest) distance to the {best} of each setting. "
        f"*: no other method is as {good} and as cheap."
    )
    return text


def too_few(standings: Standings) -> str:
    """Return why no pair of a ranking is separable, whatever the difference."""
    count, pairs = standings.observations, len(standings.pairs)
    needed = next(number for number in itertools.count(count) if enough(number, pairs))
    return (
        f"But with {_plural(count, 'observation')} a pair no difference is large enough: the smallest p is "
        f"{p_text(least_p(count))}, before it is corrected for {_plural(pairs, 'pair')}; it takes "
        f"{needed} observations. Tables compare within a setting, by Welch's intervals without correction."
    )


def p_text(p: float) -> str:
    """Return a p-value with as many digits as mean something."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def pair_lines(standings: Standings) -> list[str]:
    """Return the comparisons that matter most: of the leader with all, then all that are separable."""
    leader = standings.entrants[0].name
    chosen = [pair for pair in standings.pairs if leader in (pair.better, pair.other)]
    chosen += [pair for pair in standings.pairs if pair.separable and pair not in chosen]
    lines = [
        f"{clean(pair.better)} – {clean(pair.other)}: {pair.difference[0]:+.2f}{span(pair.difference[1:])}, "
        f"p = {p_text(pair.p)}{'' if pair.separable else ' (not separable)'}; "
        f"settings won {pair.won[0]}, tied {pair.won[1]}, lost {pair.won[2]}"
        for pair in chosen[:_PAIRS]
    ]
    more = len(standings.pairs) - len(lines)
    return [*lines, *([f"… and {_plural(more, 'more pair')} (all with --format json)"] if more else [])]


def concordance_lines(standings: Standings) -> list[str]:
    """Return how rankings agree with each other."""
    return [
        f"{each.first} / {each.second}: τ = {each.tau:.2f}{span((each.low, each.high))}"
        for each in standings.concordances
        if not math.isnan(each.tau)
    ]


def to_text(standings: Standings) -> str:
    """Return a ranking for a terminal."""
    return _assemble(standings, _aligned, lambda title: f"{title}:", "  ")


def to_markdown(standings: Standings) -> str:
    """Return a ranking as Markdown."""
    return _assemble(standings, _piped, lambda title: f"**{title}**\n", "- ")


def to_json(standings: Standings) -> str:
    """Return all of a ranking as JSON; what is not known is null."""
    return json.dumps(_plain(dataclasses.asdict(standings)), indent=1, ensure_ascii=False) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _assemble(
    standings: Standings,
    table: Callable[[Sequence[Sequence[str]]], list[str]],
    title: Callable[[str], str],
    bullet: str,
) -> str:
    rows = [headings(standings), *(line_of(at, each) for at, each in enumerate(standings.entrants, start=1))]
    parts = [table(rows), sentences(standings)]
    reasons = [clean(reason) for reason in standings.left_out]
    if len(reasons) > _REASONS:
        reasons = [*reasons[:_REASONS], f"… and {len(reasons) - _REASONS} more"]
    for name, lines in (
        ("Pairs", pair_lines(standings)),
        ("Do rankings agree (Kendall's τ-b)?", concordance_lines(standings)),
        ("Left out", reasons),
    ):
        if lines:
            parts.append([title(name), *(f"{bullet}{line}" for line in lines)])
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        # Names to the left, numbers to the right.
        cells = [
            text.ljust(width) if at == 1 else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def _piped(rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(text.replace('|', chr(92) + '|') for text in row)} |" for row in rows]
    return [lines[0], f"| ---: | --- |{' ---: |' * (len(rows[0]) - 2)}", *lines[1:]]


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
