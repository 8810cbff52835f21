"""Timing shared by all sections: interleaved rounds, and the line that reports a result."""

from __future__ import annotations

import multiprocessing
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

T = TypeVar("T")


def apart(function: Callable[..., T], *arguments: object) -> T:
    """Return what a function returns in a process of its own, whose memory and caches nobody has used."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def memory_of_this(name: str) -> float:
    """Return memory of this process in GB, ``VmRSS`` (now) or ``VmHWM`` (at most); 0 where nobody says.

    Not ``ru_maxrss``, which begins with that of the process that started this one.
    """
    status = Path("/proc/self/status")
    found = re.search(rf"{name}:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 / 1e9 if found else 0.0


def seconds(action: Callable[[], object]) -> float:
    """Return the wall-clock time of a call, in seconds."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


@dataclass(frozen=True)
class Rounds:
    """What several competitors needed, round by round.

    Attributes
    ----------
    values : mapping of str to tuple of float
        One value per round for every competitor.
    """

    values: Mapping[str, tuple[float, ...]]

    def median(self, name: str) -> float:
        """Return the median of a competitor over the rounds."""
        return median(self.values[name])

    def ratios(self, name: str, reference: str) -> tuple[float, ...]:
        """Return the quotients of two competitors, round by round: slow changes of load cancel."""
        pairs = zip(self.values[name], self.values[reference], strict=True)
        return tuple(one / other for one, other in pairs)

    def differences(self, name: str, reference: str) -> tuple[float, ...]:
        """Return the differences of two competitors, round by round."""
        pairs = zip(self.values[name], self.values[reference], strict=True)
        return tuple(one - other for one, other in pairs)


def interleave(
    competitors: Mapping[str, Callable[[], float]], rounds: int, *, warm_up: bool = True
) -> Rounds:
    """Let competitors take turns, each round starting with another one.

    Parameters
    ----------
    competitors : mapping of str to callable
        Each returns its own measurement.
    rounds : int
        How many count.
    warm_up : bool
        Whether there is a first round that does not count.
    """
    names = list(competitors)
    values: dict[str, list[float]] = {name: [] for name in names}
    if warm_up:
        for name in names:
            competitors[name]()
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            values[name].append(competitors[name]())
    return Rounds({name: tuple(measured) for name, measured in values.items()})


@dataclass(frozen=True)
class Line:
    """One result.

    Attributes
    ----------
    section : str
    what : str
        What was compared with what.
    setting : str
        On what: data, model, sizes.
    medians : mapping of str to float
        What was measured, by name, in seconds.
    samples : tuple of float
        The result of every round.
    unit : str
        ``"×"`` for ratios, ``"s"`` for seconds, ``"GB"`` for memory.
    aim : float or None
        The result should not be above it; None where nothing was promised.
    """

    section: str
    what: str
    setting: str
    medians: Mapping[str, float]
    samples: tuple[float, ...]
    unit: str = "×"
    aim: float | None = None

    @property
    def result(self) -> float:
        """Median of the rounds."""
        return median(self.samples)

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without one."""
        return None if self.aim is None else self.result <= self.aim

    def verdict(self) -> str:
        """Say whether the aim is met or missed, and by how much."""
        if self.aim is None:
            return "no aim"
        margin = self.aim - self.result
        word = "met" if self.met else "missed"
        return (
            f"aim ≤ {self.aim:.4g} {self.unit}: {word} by {abs(margin):.3g} {self.unit} "
            f"({abs(margin) / self.aim:.0%})"
        )

    def to_dict(self) -> dict[str, object]:
        """All fields and what follows from them, as a JSON value."""
        return {
            "section": self.section,
            "what": self.what,
            "setting": self.setting,
            "medians_s": dict(self.medians),
            "rounds": list(self.samples),
            "result": self.result,
            "unit": self.unit,
            "aim": self.aim,
            "met": self.met,
        }

    def to_text(self, machine: str) -> str:
        """Three lines of text: the question, the answer, and the circumstances."""
        measured = ", ".join(f"{name} {_duration(value)}" for name, value in self.medians.items())
        count = len(self.samples)
        spread = ""
        if count > 1:
            spread = f" (median of {count} rounds, {min(self.samples):.3g} to {max(self.samples):.3g})"
        indent = " " * 9
        return "\n".join(
            (
                f"{self.section:<8} {self.what}" + (f": {measured}" if measured else ""),
                f"{indent}{self.result:.3g} {self.unit}{spread}; {self.verdict()}",
                f"{indent}on {self.setting}; {machine}",
            )
        )


def _duration(value: float) -> str:
    """Write seconds in a unit that suits them."""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1.0:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"
