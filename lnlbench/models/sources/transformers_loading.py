"""How transformers is called: what it raises, and how it is kept quiet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging

# What transformers raises for a file that is wrong in one way or another.
REJECTIONS = (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError, RuntimeError)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its name."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back transformers' loading reports and progress bars."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
