"""What README and docs say is true of the code: commands, keys, columns, examples, links."""

from __future__ import annotations

import ast
import configparser
import re
import shlex
from pathlib import Path

import click
import pytest
import torch
from documented import BLOCK, PAGES, ROOT, SPAN, blocks, calls_in, commands_of, parse, read
from documented_needs import GUIDES, PAPER_PAGES
from torch import nn

from lnlbench.api import Batch, Method
from lnlbench.cli import VERBS, main
from lnlbench.errors import ExitCode
from lnlbench.grids.grid_file import read_grid
from lnlbench.grids.plan import plan
from lnlbench.grids.settings import all_keys
from lnlbench.plugins.find import GROUPS, METHODS
from lnlbench.plugins.registry import Registry
from lnlbench.records.metric_columns import columns
from lnlbench.spec import NOISE_TYPES, DatasetSpec

LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")


# Commands


CALLS = sorted({call for page in PAGES for call in calls_in(read(page))})


def test_there_are_commands_to_check() -> None:
    named = {span.split()[1] for page in PAGES for span in SPAN.findall(read(page))}
    assert {shlex.split(command)[1] for command in CALLS} | named >= {*VERBS, "--help"}


def test_commands_of_every_page_are_run() -> None:
    pages = {str(page.relative_to(ROOT)) for page in PAGES if any(commands_of(read(page)))}
    run = {*GUIDES, *PAPER_PAGES}
    assert run >= pages - {"CHANGELOG.md"}, "add the page to GUIDES in tests/project/documented_needs.py"


@pytest.mark.parametrize("command", CALLS)
def test_documented_commands_parse(command: str) -> None:
    parse(command)


@pytest.mark.parametrize(
    "command", ["lnlbench run --grid x --no-such-option", "lnlbench table --format word"]
)
def test_wrong_commands_would_be_noticed(command: str) -> None:
    with pytest.raises(click.UsageError):
        parse(command)


@pytest.mark.parametrize(
    "page",
    [path for path in PAGES if path.parent.name == "paper" and path.stem != "index"],
    ids=lambda p: p.stem,
)
def test_costs_of_the_papers_grids_are_those_that_the_command_prints(
    page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)
    monkeypatch.setenv("LNLBENCH_CACHE", str(tmp_path))  # a machine whose speed is not known yet
    found = re.search(r"`(lnlbench run [^`]* --dry-run)` prints.*?```text\n(.*?)```", read(page), re.DOTALL)
    assert found is not None
    assert main(shlex.split(found[1])[1:]) == ExitCode.OK
    printed = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in found[2].splitlines() if line.strip() not in printed] == []


def test_every_command_is_in_the_readme() -> None:
    table = re.findall(r"^\| `lnlbench (\w+)` \|", read("README.md"), re.MULTILINE)
    assert table == list(VERBS)


def test_readme_continuous_integration_and_tox_run_the_same_tests() -> None:
    (install,) = (body for body in blocks("README.md", "sh") if "[test]" in body)
    command = "pytest -n 2 --dist loadfile"
    assert install.strip().endswith(f'pip install -e ".[test]" && {command}')
    assert f"step 'pytest' {command}\n" in read(".ci/run")
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    assert tox["testenv:tests"]["commands"] == f"{command} {{posargs}}"


# Links


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page: Path) -> None:
    for path, anchor in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        target = page.parent / path if path else page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor}"


# Entry points


def entry_points() -> dict[str, dict[str, str]]:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    section = config["options.entry_points"]
    lines = {group: [line for line in section[group].splitlines() if line] for group in GROUPS}
    return {
        group: dict(tuple(part.strip() for part in line.split("=")) for line in lines[group])  # type: ignore[misc]
        for group in GROUPS
    }


def source(module: str) -> Path:
    """Return where a module of the package lies in the tree (``package_dir`` of setup.cfg)."""
    parts = module.split(".")
    moved = parts[1:2] in (["methods"], ["benchmarks"])
    return ROOT.joinpath(*parts[1 if moved else 0 :])


def test_every_entry_point_is_on_disk() -> None:
    for group, entries in entry_points().items():
        for name, target in entries.items():
            module, _, attribute = target.partition(":")
            if not attribute:
                assert (source(module) / "__init__.py").is_file(), f"{group}: {name}"
                continue
            tree = ast.parse(source(module).with_suffix(".py").read_text(encoding="utf-8"))
            classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
            assert attribute in classes, f"{group}: {name}"


def test_every_method_on_disk_is_an_entry_point() -> None:
    files = {path.stem for path in (ROOT / "methods").rglob("*.py")} - {"__init__"}
    assert set(entry_points()[METHODS]) == files


# Examples


def load_method(code: str, folder: Path) -> type[Method]:
    file = folder / "example.py"
    file.write_text(code, encoding="utf-8")
    registry: Registry[Method] = Registry(METHODS, "lnlbench.api:Method")
    return registry.load(registry.add_path(str(file)).name)


def examples(page: str) -> list[str]:
    return [code for code in blocks(page, "python") if "(Method)" in code]


def test_the_method_of_the_readme_works_as_printed(tmp_path: Path) -> None:
    (code,) = examples("README.md")
    assert len(code.splitlines()) == 15
    method_class = load_method(code, tmp_path)
    method = method_class.create(method_class.resolve("mine", "digits", {"smoothing": 0.2}))
    method.network = nn.Identity()  # type: ignore[assignment]
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1])
    targets = torch.full((2, 3), 0.2 / 3, dtype=torch.float64)
    targets[[0, 1], labels] += 0.8
    expected = -(targets * (logits - logits.exp().sum(1, keepdim=True).log())).sum(1).mean()
    assert torch.allclose(method.loss(Batch(torch.arange(2), labels, logits)), expected, rtol=1e-12)


@pytest.mark.parametrize("code", examples("docs/methods-api.md"), ids=["loss", "selection", "together"])
def test_the_methods_of_the_docs_load(code: str, tmp_path: Path) -> None:
    assert load_method(code, tmp_path).__doc__


def test_the_grid_of_the_docs_can_be_planned(tmp_path: Path) -> None:
    text, rows, hyperparameters = blocks("docs/grids.md", "toml")
    path = tmp_path / "example.toml"
    path.write_text(text, encoding="utf-8")
    (tmp_path / "ours.toml").write_text(hyperparameters, encoding="utf-8")
    grid = read_grid(path)
    planned = plan(grid).planned
    assert len(planned) == grid.size == 8 * 3 * 3  # cells, noise, seeds
    path.write_text(text.replace("[dataset_options]", f"{rows}\n[dataset_options]"), encoding="utf-8")
    assert len(plan(str(path), where=["methods.turn.tau=0.3"]).planned) == 2 * 3 * 3  # epochs, noise, seeds
    skipped = {
        (trial.spec.method.name, trial.spec.noise.label, trial.skip) for trial in planned if trial.skip
    }
    assert skipped == {("gce", "instance-0.4", "Left out to show how.")}
    rates = {
        trial.spec.phases[0].lr
        for trial in planned
        if trial.spec.method.name == "elr" and trial.spec.tuning == "fft"
    }
    assert rates == {0.005}
    # What the page says about --set beside lp-fft.fft.
    turn = next(trial.spec for trial in plan(grid, sets=["fft.epochs=2"]).planned if "-" in trial.spec.tuning)
    assert [phase.epochs for phase in turn.phases] == [20, 4]


def test_the_noise_file_of_the_docs_is_the_noise_that_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lnlbench.noise import read_noise_file
    from lnlbench.plugins import registry

    (code,) = (code for code in blocks("docs/data-and-backbones.md", "python") if "save_noise_file" in code)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "data-and-backbones.md", "exec"), {})
    found = read_noise_file(tmp_path / "digits-0.6.npz")
    data = registry.datasets().load("digits")().load(DatasetSpec("digits"), None)
    assert len(found.labels_for(data.train.labels, 10, "digits-0.6.npz")) == len(data.train)
    assert (found.generator, found.rate, found.seed) == ("symmetric", 0.6, 0)


# Reference tables


@pytest.mark.parametrize("key", all_keys())
def test_every_setting_is_documented(key: str) -> None:
    page = read("docs/grids.md")
    assert f"| `{key}` |" in page or f"| `{key.rpartition('.')[2]}` |" in page


def test_the_documented_columns_are_those_of_the_frame() -> None:
    page = read("docs/results-and-records.md")
    table = page.partition("## Columns")[2].partition("### ")[0]
    documented = [line for line in table.splitlines() if line.startswith("| `")]
    assert documented == [
        f"| `{name}` | {kind} | {f'`{origin}`' if '.' in origin else origin} | {meaning} |"
        for name, kind, origin, meaning, _ in columns()
    ]


def test_every_exit_code_is_documented() -> None:
    codes = re.findall(r"^\| (\d+) \|", read("docs/results-and-records.md"), re.MULTILINE)
    assert [int(code) for code in codes] == list(ExitCode)


def test_every_noise_type_is_documented() -> None:
    page = read("docs/data-and-backbones.md").partition("## Noise")[2].partition("## Backbones")[0]
    assert tuple(re.findall(r"^\| `([a-z]+)[^`]*` \|", page, re.MULTILINE)) == NOISE_TYPES


@pytest.mark.parametrize("group", ["lnlbench.datasets", "lnlbench.backbones"])
def test_every_data_set_and_backbone_is_documented(group: str) -> None:
    page = read("docs/data-and-backbones.md")
    for name in entry_points()[group]:
        assert re.search(rf"`{name}[`:]", page), name
