"""Hostile texts, and small grids and trials to put them into."""

from __future__ import annotations

from lnlbench.spec import BackboneSpec, DatasetSpec, MethodSpec, NoiseSpec, PhaseSpec, TrialSpec

EVIL = [
    r"\input{/etc/passwd}",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "@SUM(1)",
    "+1-1",
    "-2+3",
    "\x1b]0;owned\x07\x1b[2J\x1b[31mred",
    "\x9b31m",
    "txt\u202egpj.exe",
    "[bold red]x[/] :skull: [link=file:///]y[/link]",
    "a|b|c\n| - | -",
    "$(touch pwned) `touch pwned` ; touch pwned",
    "%0a#_^~&{}",
    "--> <!-- x",
    "../../etc/passwd",
    "\x00\x08\x7f",
]


def trial(method: str, seed: int = 0, dataset: str = "digits") -> TrialSpec:
    return TrialSpec(
        DatasetSpec(dataset),
        NoiseSpec("none"),
        BackboneSpec("efficientnet_lite0"),
        "lp",
        MethodSpec(method),
        seed,
        (PhaseSpec("lp", 1),),
    )


GRID = """\
schema = 1
title = "Hostile"
dataset = "{dataset}"
backbone = "efficientnet_lite0"
noise = "none"
[[rows]]
tuning = "lp"
method = "ce"
[lp]
epochs = 1
"""
