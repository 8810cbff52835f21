"""What a result was measured with: code, versions, hardware."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lnlbench._version import __version__
from lnlbench.basics.facts import EnvironmentFacts

_PACKAGES = ("torch", "torchvision", "timm", "transformers", "ray", "numpy", "scikit-learn", "pandas")


@cache
def _describe() -> EnvironmentFacts:
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
        **_gpu(),
        "versions": versions,
    }


def describe_environment() -> EnvironmentFacts:
    """Return commit and dirty flag, versions, CPU and GPU with its driver, as a JSON value.

    Commit and dirty flag are None where lnlbench does not run from a git checkout.
    """
    return _describe().copy()


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


def _gpu() -> EnvironmentFacts:
    """Return the first GPU's name and capability, its driver, and the versions of CUDA and cuDNN."""
    import torch

    if not torch.cuda.is_available():
        return {"gpu": None, "capability": None, "driver": None, "cuda": None, "cudnn": None}
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return {
        "gpu": torch.cuda.get_device_name(0),
        "capability": "{}.{}".format(*torch.cuda.get_device_capability(0)),
        "driver": driver_version(),
        "cuda": torch.version.cuda,
        "cudnn": None if cudnn is None else str(cudnn),
    }


def driver_version() -> str | None:
    """Return the version of NVIDIA's driver as its management library gives it, or None without one."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    text = ctypes.create_string_buffer(80)
    if library.nvmlInit_v2() != 0:
        return None
    try:
        found = library.nvmlSystemGetDriverVersion(text, len(text)) == 0
    finally:
        library.nvmlShutdown()
    return text.value.decode() if found else None
