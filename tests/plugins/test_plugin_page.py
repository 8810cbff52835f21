"""What docs/plugins.md defines works as printed, checked and in a run under Ray."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from lnlbench.cli import main
from lnlbench.errors import ExitCode

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
CUT = "--set train_per_class=6 --set test_per_class=3 --set lp.epochs=1 --where noise=symmetric-0.6 --seeds 0"


def test_the_commands_of_the_page_work_under_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LNLBENCH_CACHE", str(tmp_path / "cache"))
    codes = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    for code, name in zip(codes, ("tiny_net.py", "stripes.py", "top5.py"), strict=True):
        (tmp_path / name).write_text(code, encoding="utf-8")
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        for command in block.splitlines():
            cut = CUT if command.startswith("lnlbench run") else ""
            assert main(shlex.split(f"{command} {cut}")[1:]) == ExitCode.OK, command
    (record,) = (tmp_path / "runs" / "quickstart" / "trials").glob("*.json")
    assert '"tiny_net"' in record.read_text()
    assert '"stripes"' in record.read_text()
    # Of two classes, every class is among the first five.
    assert '"top5":{"best":100.0' in record.read_text()
