"""What a result was measured with: code, versions, hardware."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lnlbench._version import __version__

_PACKAGES = ("torch", "torchvision", "timm", "transformers", "ray", "numpy", "scikit-learn", "pandas")


@cache
def _describe() -> dict[str, Any]:
    commit, dirty = git_state(Path(__file__).parent)
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "lnlbench": __version__,
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "gpu": gpu_name(),
        "versions": versions,
    }


def describe_environment() -> dict[str, Any]:
    """Return commit and dirty flag, versions, CPU and GPU, as a JSON value.

    Commit and dirty flag are None where lnlbench does not run from a git checkout.
    """
    return dict(_describe())


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the checkout that holds a folder, and whether it has changes."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=20
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    # An installation inside some other project's checkout is not that project.
    if git("ls-files", "--error-unmatch", "environment.py") is None:
        return None, None
    status = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "HEAD"), None if status is None else bool(status)


def cpu_name() -> str:
    """Return the processor's name as the system gives it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpu_name() -> str | None:
    """Return the first GPU's name, or None."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
