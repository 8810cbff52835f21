"""How long a run will still take, by what its trials do: an epoch of probing says nothing of fine-tuning."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lnlbench.spec import PhaseSpec, TrialSpec

Key = tuple[object, ...]


class TimeLeft:
    """Seconds per epoch, of each kind as measured, and as expected until one was measured.

    Parameters
    ----------
    expected : mapping of TrialSpec to tuple of float or None
        Trials to run, with the seconds that an epoch of each phase is expected to take, None if unknown;
        see :func:`lnlbench.running.cost.expected_seconds`.
    jobs : int
        Trials at the same time.
    """

    def __init__(
        self, expected: Mapping[TrialSpec, tuple[float | None, ...]] | None = None, jobs: int = 1
    ) -> None:
        self._expected = dict(expected or {})
        self._jobs = jobs
        self._todo = dict.fromkeys(self._expected, 0)  # epochs that are over
        self._measured: dict[Key, tuple[float, int]] = {}  # seconds and epochs, of one kind
        self._ratio: dict[Key, tuple[float, float]] = {}  # seconds as measured and as expected
        self._since: dict[TrialSpec, float] = {}
        self._trained: dict[TrialSpec, float] = {}
        self._together = 0  # trials that have run side by side since none did
        self._besides: list[float] = []  # seconds of a trial that are no epoch's: data, networks

    def started(self, spec: TrialSpec) -> None:
        """Note the start of a trial."""
        self._since[spec] = time.monotonic()
        self._trained[spec] = 0.0
        self._together = max(self._together, len(self._since))

    def epoch(self, spec: TrialSpec, entry: Mapping[str, Any]) -> None:
        """Learn from an epoch."""
        seconds = entry["train_s"] + entry["eval_s"]
        before = 0
        for phase, expected in zip(spec.phases, self._expected.get(spec, ()), strict=False):
            if phase.kind == entry["phase"]:
                self._learn(spec, phase, seconds, expected)
                self._todo[spec] = before + entry["epoch"] + 1
                break
            before += phase.epochs
        if spec in self._trained:
            self._trained[spec] += seconds

    def _learn(self, spec: TrialSpec, phase: PhaseSpec, seconds: float, expected: float | None) -> None:
        total, epochs = self._measured.get(_kind(spec, phase), (0.0, 0))
        self._measured[_kind(spec, phase)] = total + seconds, epochs + 1
        if expected is not None:
            measured, foreseen = self._ratio.get(_class(spec, phase), (0.0, 0.0))
            self._ratio[_class(spec, phase)] = measured + seconds, foreseen + expected

    def ended(self, spec: TrialSpec) -> None:
        """Take a trial off the list."""
        self._todo.pop(spec, None)
        since, trained = self._since.pop(spec, None), self._trained.pop(spec, 0.0)
        if since is not None:
            # Of trials that are trained together, each has a share of the time.
            taken = (time.monotonic() - since) * min(1.0, self._jobs / self._together)
            self._besides.append(max(0.0, taken - trained))
        if not self._since:
            self._together = 0

    def seconds(self) -> float | None:
        """Return how long the trials that are left will take; None if it is not known of all of them."""
        if not self._todo or not self._measured:  # before the first epoch it would be a mere guess
            return None
        besides = sum(self._besides) / len(self._besides) if self._besides else 0.0
        total = 0.0
        for spec, over in self._todo.items():
            total += besides if spec not in self._since else 0.0
            for phase, expected in zip(spec.phases, self._expected[spec], strict=True):
                epochs = max(0, phase.epochs - over)
                over = max(0, over - phase.epochs)
                each = self._each(spec, phase, expected)
                if epochs and each is None:
                    return None
                total += epochs * (each or 0.0)
        return total / min(self._jobs, len(self._todo))

    def _each(self, spec: TrialSpec, phase: PhaseSpec, expected: float | None) -> float | None:
        """Return the seconds of an epoch: of its kind, else as expected, corrected by what others took."""
        if (own := self._measured.get(_kind(spec, phase))) is not None:
            return own[0] / own[1]
        if expected is None:
            return None
        measured, foreseen = self._ratio.get(_class(spec, phase), (1.0, 1.0))
        return expected * measured / foreseen if foreseen else expected


def _class(spec: TrialSpec, phase: PhaseSpec) -> Key:
    """What decides how far expectation and measurement are apart."""
    return spec.backbone, phase.kind, phase.cache


def _kind(spec: TrialSpec, phase: PhaseSpec) -> Key:
    """What trials have in common whose epochs take equally long: all but the seed and the budget."""
    return spec.dataset, spec.noise, spec.backbone, spec.method, phase.kind, phase.batch_size


def describe_seconds(seconds: float) -> str:
    """Return a duration in words: ``about 40 s``, ``about 12 min``, ``about 3.5 h``."""
    if seconds < 90:
        return f"about {max(10, round(seconds, -1)):.0f} s"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h" if seconds < 10 * 3600 else f"about {seconds / 3600:.0f} h"
