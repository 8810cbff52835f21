"""What a search found, in words: the best configurations, what mattered, and what to doubt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lnlbench.basics.columns import columns
from lnlbench.search.design import Search
from lnlbench.search.outcome import Effect, Result, State, effects, rank, within_noise
from lnlbench.search.space import Space
from lnlbench.search.write import show


def describe_result(search: Search, results: Sequence[Result], metric: str, top: int) -> str:
    """Return the report on one search.

    Parameters
    ----------
    search : Search
    results : sequence of Result
        One per configuration.
    metric : str
    top : int
        Configurations to list.
    """
    ranked = rank(results, metric)
    lines = [_title(search), _counts(results)]
    if not ranked:
        return "\n".join([*lines, "No configuration was trained to the end, so none can be chosen."])
    best = ranked[0]
    lines += ["", _table(ranked[:top], metric)]
    if len(ranked) > top:
        lines.append(f"… and {len(ranked) - top} more (--top).")
    lines += ["", _doubt(ranked, metric)]
    found = effects(ranked, search.space, metric)
    if len(ranked) > 1 and found:
        cut = any(result.state is State.STOPPED for result in results)
        among = " among those trained to the end" if cut else ""
        lines += ["", f"Share of the variance that a setting explains, and best score per value{among}:"]
        lines.append(_effects(found))
    lines += _edges(best, found, search.space, metric)
    return "\n".join(lines)


def _title(search: Search) -> str:
    spec = search.base[0]
    seeds = ", ".join(str(base.seed) for base in search.base)
    return (
        f"{search.backbone}, {search.space.phase}: {spec.method.name} on {spec.dataset.label} "
        f"{spec.noise.label}, {search.epochs} epochs, seed {seeds}"
    )


def _counts(results: Sequence[Result]) -> str:
    numbers = Counter(result.state for result in results)
    words = {
        State.DONE: "done",
        State.STOPPED: "stopped early",
        State.DIVERGED: "diverged",
        State.FAILED: "failed",
        State.PENDING: "not run",
    }
    parts = [f"{numbers[state]} {word}" for state, word in words.items() if numbers[state]]
    return f"{len(results)} configurations: {', '.join(parts)}"


def _table(ranked: Sequence[Result], metric: str) -> str:
    names = [name for name, _ in ranked[0].configuration.values]
    rows = [["rank", f"{metric} [%]", "best epoch", *names]]
    for place, result in enumerate(ranked, start=1):
        values = [show(value) for _, value in result.configuration.values]
        rows.append([str(place), f"{result.score(metric):.2f}", str(result.best_epoch()), *values])
    return "\n".join(columns(rows, right=range(len(rows[0]))))


def _doubt(ranked: Sequence[Result], metric: str) -> str:
    best = ranked[0]
    error = best.standard_error(metric)
    seeds = f", mean of {len(best.curves)} seeds" if len(best.curves) > 1 else ""
    close = within_noise(ranked, metric)
    tied = sum(result.score(metric) == best.score(metric) for result in ranked[1:])
    text = (
        f"The standard error of the best is {error:.2f} points "
        f"({best.curves[0].samples} validation samples{seeds}). "
    )
    if close:
        others = "1 other configuration is" if close == 1 else f"{close} other configurations are"
        text += f"{others} within it, and cannot be told from the best."
    else:
        text += "No other configuration is within it."
    if tied:
        text += f" {tied} of them {'has' if tied == 1 else 'have'} the same score; see the rule for ties."
    return text


def _effects(found: Sequence[Effect]) -> str:
    most = max(len(effect.best) for effect in found)
    rows = []
    for effect in found:
        scores = [f"{show(value)}: {score:.2f}" for value, score in effect.best.items()]
        rows.append([effect.name, f"{effect.share:.0%}", *scores, *[""] * (most - len(scores))])
    return "\n".join(columns(rows, right=range(1, most + 2)))


def _edges(best: Result, found: Sequence[Effect], space: Space, metric: str) -> list[str]:
    """Say where the best lies at the edge of the space, if the setting matters at all."""
    error = best.standard_error(metric)
    spreads = {effect.name: effect.spread for effect in found}
    lines = []
    for name, value in best.configuration.values:
        side = space.at_edge(name, value)
        if side is None or spreads.get(name, 0.0) <= error:
            continue
        lines.append(
            f"Warning: {name} = {show(value)} is the {side} value of the space; a better one may lie outside."
            + _wider(space, name, value, side)
        )
    return ["", *lines] if lines else []


def _wider(space: Space, name: str, value: float, side: str) -> str:
    """Return the option that adds the next value outside, for settings that are spaced regularly."""
    factor = {"lr": 10, "weight_decay": 10, "batch_size": 2}.get(name)
    if factor is None or (type(value) is int and side == "smallest" and value % factor):
        return ""
    beyond = value * factor if side == "largest" else type(value)(value / factor)
    values = ",".join(show(item) for item in (*space.values[name], beyond))
    return f" Try --space {space.phase}.{name}={values}"
