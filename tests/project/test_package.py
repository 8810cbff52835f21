"""The package as others get it: a wheel, used far from the tree; and what commands import."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Folder of the tree → package in the wheel.
PACKAGES = {"lnlbench": "lnlbench", "methods": "lnlbench/methods", "benchmarks": "lnlbench/benchmarks"}
HEAVY = {"torch", "ray", "pandas", "torchvision", "timm", "transformers", "sklearn", "scipy", "matplotlib"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # From a copy, because a build leaves files behind, and old ones would end up in the wheel.
    tree = tmp_path_factory.mktemp("tree")
    for folder in PACKAGES:
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, tree)
    target = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(target), str(tree))
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed into a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    pip("install", "--target", str(target), str(wheel))
    return target


def pip(command: str, *arguments: str) -> None:
    call = [sys.executable, "-m", "pip", command, "--quiet", "--no-deps", "--no-index", *arguments]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def python(site: Path, folder: Path, *arguments: str) -> str:
    """Run Python in a folder with ``site`` first on the path.

    Without the site module (``-S``), an editable installation of the tree is not active, so that
    nothing is found in the tree that is missing in the wheel.
    """
    paths = [str(site), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
    done = subprocess.run(
        [sys.executable, "-S", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_all_that_the_tree_does_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    patterns = (
        *("**/*.py", "py.typed", "**/report.css", "**/report.js"),
        *("grids/*.toml", "hyperparameters/*.toml", "paper/*.csv", "paper/*.md"),
    )
    expected = {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, package in PACKAGES.items()
        for pattern in patterns
        for path in (ROOT / folder).glob(pattern)
    }
    assert packed == expected


def test_the_wheel_has_one_top_level_package(site: Path) -> None:
    folders = {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")}
    assert folders - {"bin"} == {"lnlbench"}  # and no package called "methods"


def test_the_wheel_states_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("LICENSE"))
        assert archive.read(name) == (ROOT / "LICENSE").read_bytes()


def test_the_wheel_works_outside_the_tree(site: Path, tmp_path: Path) -> None:
    code = "import lnlbench, lnlbench.methods.ce as ce; print(lnlbench.__file__, ce.__file__, sep='\\n')"
    core, method = python(site, tmp_path, "-c", code).splitlines()
    assert Path(core) == site / "lnlbench" / "__init__.py"
    assert Path(method) == site / "lnlbench" / "methods" / "ce.py"


def test_the_wheel_brings_its_grids_and_methods(site: Path, tmp_path: Path) -> None:
    for what, folder, suffix in (("grids", "benchmarks/grids", "toml"), ("methods", "methods", "py")):
        listed = python(site, tmp_path, "-m", "lnlbench", "list", what).splitlines()
        found = {line.split()[0] for line in listed}
        assert found == {path.stem for path in (ROOT / folder).rglob(f"*.{suffix}")} - {"__init__"}


# Imports


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from results_factory import mini

    return mini(tmp_path_factory.mktemp("out") / "mini").root


@pytest.mark.parametrize(
    "command",
    ["--help", "--version", "list grids", "list methods", "list backbones", "list datasets", "list noise"],
)
def test_light_commands_import_nothing_heavy(command: str) -> None:
    assert not imported_by(*command.split()) & HEAVY


def test_status_imports_nothing_heavy(results: Path) -> None:
    assert not imported_by("status", "--out", str(results)) & HEAVY


def test_importing_the_package_imports_nothing_else() -> None:
    assert not modules_after("import lnlbench") & (HEAVY | {"click", "rich", "numpy"})


def test_a_worker_imports_scikit_learn_when_it_needs_it() -> None:
    code = (
        "import lnlbench.running.worker; from lnlbench.plugins import registry; registry.methods().load('ce')"
    )
    imported = modules_after(code)
    assert "torch" in imported
    assert "sklearn" not in imported


def imported_by(*arguments: str) -> set[str]:
    return modules_after(f"from lnlbench.cli import main; assert main({list(arguments)!r}) == 0")


def modules_after(code: str) -> set[str]:
    """Return the top-level modules that are imported after running some code in a new process."""
    ending = "import sys; print('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{ending}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
