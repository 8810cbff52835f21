"""The inline executor on a machine without Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

GRID = """
schema = 1
title = "Without Ray"
seeds = [0]
dataset = ["features:vectors.npz"]
backbone = ["none"]
noise = ["symmetric-0.2"]
[[rows]]
tuning = "lp"
method = ["ce", "elr"]
[lp]
epochs = 1
"""

PROGRAM = """
import sys
sys.modules["ray"] = None  # from now on, importing it raises ImportError
import lnlbench
from lnlbench.cli import main
assert lnlbench.run("small.toml", "python", executor="inline", cpus_per_trial=1).complete
common = ["--executor", "inline", "--cpus-per-trial", "1"]
assert main(["run", "--grid", "small.toml", "--out", "command", *common]) == 0
assert main(["status", "--grid", "small.toml", "--out", "command"]) == 0
assert main(["table", "--grid", "small.toml", "--out", "command"]) == 0
assert main(["run", "--grid", "small.toml", "--out", "other"]) != 0
"""


def test_trials_run_inline_and_what_needs_ray_says_so(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    arrays = {f"x_{part}": draw.normal(size=(40, 4)) for part in ("train", "test")}
    labels = {f"y_{part}": np.arange(40) % 2 for part in ("train", "test")}
    np.savez(tmp_path / "vectors.npz", **arrays, **labels)
    (tmp_path / "small.toml").write_text(GRID)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert "Ray, which is not installed" in done.stderr
    assert "--executor inline" in done.stderr
