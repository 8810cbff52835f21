"""Plugins given by path are known for the life of a process; tests share one."""

from __future__ import annotations

import sys


def forget() -> None:
    """Forget plugins that were given by path, as a process of its own would know none."""
    if registry := sys.modules.get("lnlbench.plugins.registry"):
        for known in (
            registry.methods,
            registry.backbones,
            registry.datasets,
            registry.phase_kinds,
            registry.metrics,
        ):
            known.cache_clear()
