"""Batches of images from files, made ahead of time by worker processes.

A batch is described in full before it is made: which images, which views, which seed. Whoever makes
it, and when, it is the same, so the number of workers changes no result.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_context, parent_process
from typing import TypeVar

import numpy as np
import torch

from lnlbench.data.source import Images
from lnlbench.errors import TrialError
from lnlbench.inputs import augment
from lnlbench.models.preprocessing import Preprocessing

Task = TypeVar("Task")
Made = TypeVar("Made")

# How often a worker looks whether the process that started it is still there, in seconds.
_WATCH = 2.0


@dataclass(frozen=True, slots=True)
class ImageTask:
    """One batch, described so that any process can make it.

    Attributes
    ----------
    images : Images
        Those of the batch and no others: a task is sent to another process.
    preprocessing : Preprocessing
        The backbone's; everything up to the crop is done.
    recipe : str
        Name of the augmentation recipe, see :data:`lnlbench.inputs.augment.RECIPES`.
    view_size : int or None
        Side of augmented views before preprocessing; see :func:`lnlbench.inputs.augment.weak`.
    plain : bool
        Whether the un-augmented images are wanted.
    weak, strong : int
        How many views of each image are wanted.
    seed : int
        Of the views.
    """

    images: Images
    preprocessing: Preprocessing
    recipe: str
    view_size: int | None
    plain: bool
    weak: int
    strong: int
    seed: int


def make_batch(task: ImageTask) -> list[torch.Tensor]:
    """Decode, augment, resize and crop the images of a batch.

    Returns
    -------
    list of uint8 Tensors of shape [B, 3, S, S]
        Un-augmented images if they were asked for, then weak views, then strong ones.
    """
    with _one_thread():
        images = task.images.take(np.arange(len(task.images)))
        generator = torch.Generator().manual_seed(task.seed)
        versions = [images] if task.plain else []
        for count, augmented in ((task.weak, augment.weak), (task.strong, augment.strong)):
            versions += [augmented(images, task.recipe, generator, task.view_size) for _ in range(count)]
        return [task.preprocessing.fit(version) for version in versions]


class Workers:
    """Processes that do tasks ahead of time, started when they are first needed.

    Parameters
    ----------
    count : int
        0 does every task in this process, when its result is asked for.
    clean : bool
        Fork them from a server that is started afresh, and not from this process: where Ray's or CUDA's
        threads hold locks, a copy of it may wait for these for ever. It takes seconds, once, and imports the
        main module, so it is not for scripts.
    prepare : callable, optional
        What each of them calls first; a function that can be pickled. Of use with ``clean`` alone: others
        know what this process knows.
    """

    def __init__(self, count: int, *, clean: bool = False, prepare: Callable[[], None] | None = None) -> None:
        self.count = count
        self._clean = clean
        self._prepare = prepare
        self._pool: ProcessPoolExecutor | None = None

    def start(self) -> None:
        """Start them now, so that no epoch is billed for it."""
        for _ in self.map(_awake, range(self.count)):
            pass

    def map(self, function: Callable[[Task], Made], tasks: Iterable[Task]) -> Iterator[Made]:
        """Yield ``function(task)`` for every task, in order, with ``count`` + 2 tasks under way.

        Several such iterators may be open at a time. What is under way when one is closed is given up.

        Parameters
        ----------
        function : callable
            A function of a module.
        tasks : iterable
            Of values that can be pickled.

        Raises
        ------
        LnlbenchError
            Whatever a task raises, when its turn comes.
        TrialError
            If a worker process ended.
        """
        if not self.count:
            yield from map(function, tasks)
            return
        waiting: deque[Future[Made]] = deque()
        try:
            for task in tasks:
                waiting.append(self._executor().submit(function, task))
                if len(waiting) > self.count + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            self._pool = None  # another trial starts new ones
            raise TrialError(
                "A worker process that decodes images was ended from outside.",
                "It may have run out of memory or of shared memory: use fewer --workers, or give a container "
                "more shared memory.",
            ) from error
        finally:
            for future in waiting:
                future.cancel()

    def _executor(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Forked processes have torch imported already, and need no importable __main__.
            method = "forkserver" if self._clean else "fork"
            context = get_context(method if method in get_all_start_methods() else None)
            if method == "forkserver":
                context.set_forkserver_preload([__name__])
            self._pool = ProcessPoolExecutor(
                self.count,
                context,
                initializer=_start_worker,
                initargs=(os.getpid(), self._prepare if self._clean else None),
            )
        return self._pool


def _awake(_: int) -> None:
    """Do nothing, in a worker process."""


def _start_worker(parent: int, prepare: Callable[[], None] | None = None) -> None:
    """Prepare a worker process: one thread, and no life without the process that asked for it."""
    torch.set_num_threads(1)  # OpenMP, too, would hang in a forked process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    # One that a server has forked is the server's child; a pipe tells it of the end of who asked for it.
    asked = parent_process() if os.getppid() != parent else None

    def is_there() -> bool:
        return os.getppid() == parent if asked is None else asked.is_alive()

    def watch() -> None:
        # A parent that was killed closes no queue, because the other workers hold it open as well.
        while is_there():
            never.wait(_WATCH)
        os._exit(1)

    never = threading.Event()
    threading.Thread(target=watch, daemon=True).start()
    if prepare is not None:
        prepare()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread: sums over an image must not depend on how many there are."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def default_workers(device: str, threads: int) -> int:
    """Return how many worker processes serve a trial best.

    On a GPU one per CPU thread of the trial but one, up to 16. On a CPU none: the cores are busy with the
    network, and a worker would only take its turn.
    """
    return max(1, min(16, threads - 1)) if device == "cuda" else 0
