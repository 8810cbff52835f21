"""A stand-in for a file of labels that people gave: such labels as nobody gave, for a stand-in's images."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np

from lnlbench.basics.files import write_atomically
from lnlbench.basics.seeding import numpy_stream
from lnlbench.data.dataset import HumanLabels
from lnlbench.data.known.standin import NOTICE
from lnlbench.data.npz import read_npz

# Of CIFAR-10N's five sets 9 to 40 % are wrong, of CIFAR-100N's 40 % (Wei et al., 2022).
_NOISE = {"aggre": 0.09, "worse": 0.4, "noisy": 0.4}
_OTHER = 0.18


def write_human_labels(human: HumanLabels, archive: Path, classes: int, seed: int) -> None:
    """Write a file in the published container, with noise of the published rates, beside a stand-in.

    A file of that name stays as it is: it is the real one, or that of an earlier stand-in.

    Parameters
    ----------
    human : HumanLabels
    archive : Path
        The stand-in's npz archive, whose training labels are the true ones.
    classes, seed : int
    """
    path = archive.with_name(human.file)
    if path.exists():
        return
    clean = read_npz(archive, ["y_train"])["y_train"].astype(np.int64)
    content: dict[str, object] = {human.clean: clean, "standin": NOTICE}
    for name, key in human.keys.items():
        rng = numpy_stream("stand-in", path.stem, name, seed)
        wrong = rng.random(len(clean)) < _NOISE.get(name, _OTHER)
        content[key] = np.where(wrong, (clean + rng.integers(1, classes, len(clean))) % classes, clean)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as container:  # written as pickles, and never read as such
        # A ZipInfo has a date of its own, so that the same seed gives the same bytes.
        container.writestr(zipfile.ZipInfo("archive/data.pkl"), pickle.dumps(content, protocol=2))
        container.writestr(zipfile.ZipInfo("archive/version"), "3\n")
    write_atomically(path, stream.getvalue())
