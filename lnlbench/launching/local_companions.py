"""Companions on this machine, which are started once and take part in one trial after the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import IO

from lnlbench.launching.companions import Companions, Ending, take_part
from lnlbench.launching.meeting import Meeting
from lnlbench.spec import TrialSpec
from lnlbench.trials.workspace import RunSettings, Workspace

MODULE = "lnlbench.launching.local_companions"
WATCH = 1.0  # seconds between two looks at the process that started a companion
_KEPT = 20_000  # characters of what a process that died has printed last


class _Companion:
    """One process, with a line to it."""

    def __init__(self, settings: RunSettings, rank: int) -> None:
        self.line, theirs = Pipe()
        self.words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        environment = dict(os.environ)
        if settings.device == "cuda":
            environment["CUDA_VISIBLE_DEVICES"] = visible_gpu(rank, environment.get("CUDA_VISIBLE_DEVICES"))
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", MODULE, str(theirs.fileno()), str(os.getpid())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self.words,
            stderr=self.words,
            start_new_session=True,  # Ctrl-C is for the process that started it
            env=environment,
        )
        theirs.close()
        self.line.send((settings, rank))

    def outcome(self, seconds: float) -> Ending | None:
        """Return how the trial ended, if it has after some seconds."""
        try:
            if not self.line.poll(seconds):
                return None
            found: Ending = self.line.recv()
        except (EOFError, ConnectionError):
            return Ending(death=self._death(), trace=self._last_words())
        return found

    def _death(self) -> str:
        code = self.process.wait()
        try:
            return signal.Signals(-code).name if code < 0 else f"exit code {code}"
        except ValueError:
            return f"signal {-code}"

    def _last_words(self) -> str:
        self.words.seek(0)
        return self.words.read().decode(errors="replace")[-_KEPT:]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.line.close()
        self.words.close()


class LocalCompanions(Companions):
    """Processes of this machine, started when a trial first needs them.

    Parameters
    ----------
    settings : RunSettings
        Of this process, and so of each of them; on GPUs each has one of its own.
    """

    host = "127.0.0.1"

    def __init__(self, settings: RunSettings) -> None:
        self.size = settings.processes
        self._settings = settings
        self._companions: list[_Companion] = []
        self._found: dict[int, Ending] = {}  # by position, of the trial that runs

    def begin(self, spec: TrialSpec, meeting: Meeting) -> None:
        """Let all of them run a trial; starts them, if they are not there."""
        self._found = {}
        if not self._companions:
            self._companions = [_Companion(self._settings, rank) for rank in range(1, self.size)]
        for companion in self._companions:
            try:
                companion.line.send((spec, meeting))
            except ConnectionError:  # it died since; the next question for outcomes tells how
                continue

    def outcomes(self, seconds: float) -> Sequence[Ending | None]:
        """Return how the trial ended in each of them; None where it has not after some seconds."""
        until = time.monotonic() + seconds
        for position, companion in enumerate(self._companions):
            if position not in self._found:
                outcome = companion.outcome(max(0.0, until - time.monotonic()))
                if outcome is not None:
                    self._found[position] = outcome
        return [self._found.get(position) for position in range(len(self._companions))]

    def end(self) -> None:
        """End them at once; a trial after that has new ones."""
        for companion in self._companions:
            companion.end()
        self._companions, self._found = [], {}


def visible_gpu(rank: int, visible: str | None) -> str:
    """Return the one GPU that a companion sees, as ``CUDA_VISIBLE_DEVICES`` names it.

    Parameters
    ----------
    rank : int
    visible : str or None
        Those of the process that starts it, whose first one is its own.
    """
    return visible.split(",")[rank] if visible else str(rank)


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone."""

    def observe() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH)
        os._exit(1)

    threading.Thread(target=observe, name="lnlbench companion watch", daemon=True).start()


def main() -> None:
    """Take part in trials until the process that started this one hangs up."""
    _end_with(int(sys.argv[2]))
    line = Connection(int(sys.argv[1]))
    settings, rank = line.recv()
    workspace = Workspace(settings)
    while True:
        try:
            spec, meeting = line.recv()
        except EOFError:
            return
        line.send(take_part(spec, meeting, rank, workspace))


if __name__ == "__main__":
    main()
