"""Files of human labels in their authors' container, and hostile ones, made opcode by opcode or by pickle."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


def write_pt(path: Path, content: Any, **kwargs: Any) -> Path:
    """Write what the authors' ``torch.save`` wrote: no tensors, pickle's format 2, names of numpy 1."""
    raw = pickle.dumps(content, protocol=2).replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    return write_container(path, raw, **kwargs)


def write_container(
    path: Path, raw: bytes, *, stem: str = "archive", compression: int = zipfile.ZIP_STORED, **members: bytes
) -> Path:
    """Write a zip archive with a pickle, a version, and more members."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{stem}/data.pkl", raw)
        archive.writestr(f"{stem}/version", b"3\n")
        for name, data in members.items():
            archive.writestr(f"{stem}/{name.replace('__', '/')}", data)
    return path


def cifar10n(clean: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Labels of the published file's keys and types, for any true labels."""
    rng = np.random.default_rng(seed)
    votes = {
        f"random_label{k}": np.where(rng.random(len(clean)) < 0.2, rng.integers(0, 10, len(clean)), clean)
        for k in (1, 2, 3)
    }
    return {
        "clean_label": clean,
        "aggre_label": votes["random_label1"],
        "worse_label": votes["random_label2"],
        **votes,
    }


def cifar100n(clean: np.ndarray) -> dict[str, Any]:
    """As published for CIFAR-100: coarse labels are lists of Python integers."""
    return {
        "clean_label": clean,
        "noisy_label": (clean + 1) % 100,
        "noisy_coarse_label": (clean // 5).tolist(),
        "clean_coarse_label": (clean // 5).tolist(),
    }
