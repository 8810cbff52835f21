"""Registry: find, load, check, with real installed distributions (metadata and modules on the path)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from lnlbench.errors import PluginError
from lnlbench.plugins import find as entries
from lnlbench.plugins import registry
from lnlbench.plugins.describe import describe
from lnlbench.plugins.find import GRIDS, METHODS, Plugin

Install = Callable[..., Path]

BASE = """
    from abc import ABC, abstractmethod

    class Base:
        pass

    class Strict(ABC):
        @abstractmethod
        def load(self): ...
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution: its entry points and the sources of its modules."""

    def install(name: str, version: str, points: str, folder: str = "site", **modules: str) -> Path:
        site = tmp_path / folder
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(dedent(points))
        for module, source in modules.items():
            (site / f"{module}.py").write_text(dedent(source))
            monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.syspath_prepend(site)
        return site

    return install


@pytest.fixture
def methods(install: Install) -> registry.Registry[object]:
    """A registry of methods whose base class needs no torch."""
    install("base", "0", "", folder="base", reg_base=BASE)
    return registry.Registry(METHODS, "reg_base:Base")


def points(*lines: str) -> str:
    return f"[{METHODS}]\n" + "\n".join(lines) + "\n"


def test_finding_imports_no_plugin(install: Install, methods: registry.Registry[object]) -> None:
    install("mine", "1.2", points("mine = reg_mine:Mine"), reg_mine="raise RuntimeError('imported')")
    entry = methods.entry("mine")
    assert entry == Plugin(METHODS, "mine", "reg_mine:Mine", "mine", "1.2")
    assert entry.origin == "mine 1.2"
    assert "reg_mine" not in sys.modules


def test_loads_the_class(install: Install, methods: registry.Registry[object]) -> None:
    source = "from reg_base import Base\nclass Mine(Base): pass\n"
    install("mine", "1.2", points("mine = reg_mine:Mine"), reg_mine=source)
    loaded = methods.load("mine")
    assert loaded is sys.modules["reg_mine"].Mine
    assert methods.load("mine") is loaded


def test_own_methods_come_by_entry_points() -> None:
    found = {entry.name: entry.distribution for entry in registry.methods().entries()}
    assert {name: found[name] for name in ("ce", "gce", "elr", "turn")} == dict.fromkeys(
        ("ce", "gce", "elr", "turn"), "lnlbench"
    )


def test_unknown_name_is_suggested(methods: registry.Registry[object]) -> None:
    with pytest.raises(PluginError, match=r"Unknown method 'gcee'\. Did you mean 'gce'\?"):
        methods.load("gcee")


def test_collision_is_an_error_only_when_asked_for(
    install: Install, methods: registry.Registry[object]
) -> None:
    source = "from reg_base import Base\nclass Mine(Base): pass\n"
    install("first", "1", points("mine = reg_one:Mine", "other = reg_one:Mine"), folder="a", reg_one=source)
    install("second", "2", points("mine = reg_two:Mine"), folder="b", reg_two=source)
    assert methods.load("other").__name__ == "Mine"
    assert entries.collisions(methods.entries()) == {"mine"}
    with pytest.raises(PluginError, match=r"'mine' is claimed by first 1 .* and second 2 "):
        methods.load("mine")


def test_one_distribution_seen_twice_is_no_collision(
    install: Install, methods: registry.Registry[object]
) -> None:
    install("mine", "1", points("mine = reg_mine:Mine"), folder="a")
    install("mine", "1", points("mine = reg_mine:Mine"), folder="b")
    assert [entry.name for entry in methods.entries()].count("mine") == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_module_at_all", r"mine 1\.2 .*ModuleNotFoundError: No module named 'no_such"),
        ("x = (", "SyntaxError"),
        ("raise KeyError('no')", r"KeyError: 'no' \(.*reg_mine\.py:1\)"),
        ("class Other: pass", "AttributeError: module 'reg_mine' has no attribute 'Mine'"),
        ("class Mine: pass", "does not inherit from Base"),
        ("def Mine(): pass", "is not a class, but of type function"),
    ],
)
def test_broken_plugin_says_what_and_whose(
    install: Install, methods: registry.Registry[object], source: str, message: str
) -> None:
    install("mine", "1.2", points("mine = reg_mine:Mine"), reg_mine=source)
    with pytest.raises(PluginError, match=message) as caught:
        methods.load("mine")
    assert "mine 1.2" in caught.value.message
    assert caught.value.hint


def test_abstract_plugin_says_what_is_missing(install: Install) -> None:
    install("base", "0", "", folder="base", reg_base=BASE)
    source = "from reg_base import Strict\nclass Mine(Strict): pass\n"
    install("mine", "1", points("mine = reg_mine:Mine"), reg_mine=source)
    strict = registry.Registry(METHODS, "reg_base:Strict")
    with pytest.raises(PluginError, match="does not define load"):
        strict.load("mine")


# Plugins given by path


def write(path: Path, source: str) -> Path:
    path.write_text(dedent(source))
    return path


def test_path_plugin_is_run_only_when_loaded(tmp_path: Path, methods: registry.Registry[object]) -> None:
    path = write(
        tmp_path / "json.py",  # a name that another module has
        """
        from pathlib import Path
        from reg_base import Base
        Path(__file__).with_suffix(".ran").touch()
        class MyGCELoss(Base):
            pass
        """,
    )
    entry = methods.add_path(f"{path}:MyGCELoss")
    assert (entry.name, entry.origin) == ("my_gce_loss", "json.py")
    assert not path.with_suffix(".ran").exists()
    assert methods.load("my_gce_loss").__name__ == "MyGCELoss"
    assert path.with_suffix(".ran").exists()
    assert sys.modules["json"] is json


def test_path_plugin_named_by_attribute_and_found_alone(
    tmp_path: Path, methods: registry.Registry[object]
) -> None:
    source = """
    from dataclasses import dataclass
    import reg_base
    @dataclass
    class Params:
        q: float = 0.7
    class Mine(reg_base.Base):
        name: str = "better"
    """
    path = write(tmp_path / "mine.py", source)
    assert methods.add_path(str(path)).name == "better"
    assert methods.load("better").__name__ == "Mine"


def test_references_rebuild_the_registry_elsewhere(
    tmp_path: Path, methods: registry.Registry[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "mine.py", "from reg_base import Base\nclass Mine(Base): pass\n")
    monkeypatch.chdir(tmp_path)
    entry = methods.add_path("./mine.py:Mine")
    assert methods.add_path("mine.py") == entry  # again is no collision
    other: registry.Registry[object] = registry.Registry(METHODS, "reg_base:Base")
    monkeypatch.chdir("/")
    for reference in methods.references():
        other.add_path(reference)
    assert other.entry("mine") == entry


@pytest.mark.parametrize(
    ("source", "reference", "message"),
    [
        ("class A(Base): pass\nclass B(A): pass", "mine.py", "several: A, B"),
        ("class A: pass", "mine.py", "defines none"),
        ("class Mine(Base): pass", "mine.py:Mne", "no class 'Mne'. Did you mean 'Mine'"),
        ("class Mine(Base: pass", "mine.py:Mine", r"mine\.py:1: "),
        ("class Mine(Base): pass", "other.py:Mine", "cannot be read: No such file"),
        ("class CE(Base): pass", "mine.py:CE", r"'ce', which is taken by lnlbench "),
    ],
)
def test_wrong_path_plugin(
    tmp_path: Path, methods: registry.Registry[object], source: str, reference: str, message: str
) -> None:
    write(tmp_path / "mine.py", source)
    with pytest.raises(PluginError, match=message):
        methods.add_path(f"{tmp_path}/{reference}")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget afterwards which plugins were given by path."""
    for known in registry.registries():
        monkeypatch.setattr(known, "_given", {})


@pytest.mark.parametrize(
    ("source", "kind", "name"),
    [
        ("class Mine(lnlbench.api.Method): pass", "method", "mine"),
        ("import lnlbench.models.backbone as m\nclass B(m.BackboneSource): pass", "backbone", "b"),
        ("from lnlbench.methods import gce\nclass G(gce.GCE): pass", "method", "g"),
        ("from lnlbench.methods.gce import GCE as Loss\nclass H(Loss): pass", "method", "h"),
        ("class Pets(DatasetSource):\n    name = 'my_pets'", "data set", "my_pets"),
        ("class Norms(PhaseKind): pass", "kind of phase", "norms"),
        # Through a class of another file, or of another one that this imports.
        ("from lnlbench.methods.elr import ELR\nclass More(ELR): pass", "method", "more"),
        (
            "from lnlbench.models.sources.paper_backbones import ViTB16\nclass V(ViTB16): pass",
            "backbone",
            "v",
        ),
        ("from beside import Base\nclass Leaf(Base): pass", "data set", "leaf"),
    ],
)
@pytest.mark.usefixtures("given")
def test_a_plugin_given_by_path_is_of_the_kind_of_its_base(
    tmp_path: Path, source: str, kind: str, name: str
) -> None:
    write(tmp_path / "beside.py", "class Base(DatasetSource): pass")
    path = write(tmp_path / "mine.py", source)
    plugin = registry.add_plugin(str(path))
    assert plugin.name == name
    (known,) = (known for known in registry.registries() if known.references())
    assert known.kind == kind
    assert registry.references() == [f"{path}:{plugin.target}"]


def test_what_is_no_plugin_is_told_what_it_lacks(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", "import torch\nclass Loss(torch.nn.Module): pass\n")
    bases = "Method or BackboneSource or DatasetSource or PhaseKind or Metric"
    with pytest.raises(PluginError, match=f"'Loss' of .* is no plugin: it does not inherit from {bases}"):
        registry.add_plugin(f"{path}:Loss")
    with pytest.raises(PluginError, match=f"one class that inherits from {bases}; it defines none"):
        registry.add_plugin(str(path))


# Fingerprints, summaries, grids


def test_fingerprint_is_that_of_the_code(install: Install, methods: registry.Registry[object]) -> None:
    site = install("mine", "1", points("mine = reg_mine:Mine"), reg_mine="class Mine: x = 1\n")
    before = methods.fingerprint("mine")
    assert before["origin"] == "mine 1"
    (site / "reg_mine.py").write_text("class Mine: x = 2\n")
    assert methods.fingerprint("mine")["fingerprint"] != before["fingerprint"]


def test_a_plugin_that_exits_while_it_is_imported_is_an_error(
    install: Install, methods: registry.Registry[object]
) -> None:
    install("mine", "1", points("mine = reg_exits:Mine"), reg_exits="import sys; sys.exit(0)\n")
    with pytest.raises(PluginError, match=r"'mine' of mine 1 cannot be loaded .* SystemExit: 0"):
        methods.load("mine")


def test_fingerprint_without_source(install: Install, methods: registry.Registry[object]) -> None:
    install("mine", "1", points("mine = reg_no_such:Mine"))
    with pytest.raises(PluginError, match="source of 'mine' of mine 1"):
        methods.fingerprint("mine")


def test_summary_imports_neither_plugin_nor_its_package(install: Install) -> None:
    site = install("mine", "1", points("mine = reg_pkg.deep:Mine"))
    (site / "reg_pkg").mkdir()
    (site / "reg_pkg/__init__.py").write_text("raise RuntimeError")
    (site / "reg_pkg/deep.py").write_text(
        'class Mine:\n    """Says ``it``.\n\n    More."""\nraise RuntimeError'
    )
    entry = next(entry for entry in entries.find(METHODS) if entry.name == "mine")
    assert describe(entry).summary == "Says it."


@pytest.mark.parametrize("target", ["reg_no_such:Mine", "sys:Mine", "reg_bad:Mine", "reg_bad.sub:Mine"])
def test_summary_of_what_cannot_be_read_is_empty(install: Install, target: str) -> None:
    install("mine", "1", points(f"mine = {target}"), reg_bad="class (")
    entry = next(entry for entry in entries.find(METHODS) if entry.name == "mine")
    assert describe(entry).summary == ""


def test_grids_of_a_third_party(install: Install) -> None:
    site = install("mine", "1", f"[{GRIDS}]\nmine = reg_grids\n")
    (site / "reg_grids/grids").mkdir(parents=True)
    (site / "reg_grids/__init__.py").touch()
    for name in ("special", "quickstart"):
        (site / f"reg_grids/grids/{name}.toml").touch()
    assert registry.find_grid("special") == site / "reg_grids/grids/special.toml"
    with pytest.raises(PluginError, match=r"'quickstart' is claimed by .*mine 1"):
        registry.find_grid("quickstart")


def test_find_grid(tmp_path: Path) -> None:
    assert registry.find_grid("quickstart").name == "quickstart.toml"
    (tmp_path / "own.toml").touch()
    assert registry.find_grid(str(tmp_path / "own.toml")) == tmp_path / "own.toml"
    with pytest.raises(PluginError, match="Did you mean 'quickstart'"):
        registry.find_grid("quikstart")
    with pytest.raises(PluginError, match="no grid file"):
        registry.find_grid("quickstart_no.toml")


# lnlbench list


def run_list(*arguments: str) -> str:
    script = (
        "import sys; from lnlbench.cli.list_ import command; command(sys.argv[1:], standalone_mode=False); "
        "sys.exit(bool({'torch', 'ray', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("methods", "gce"),
        ("backbones", "timm"),
        ("datasets", "digits"),
        ("grids", "quickstart"),
        ("noise", "real"),
    ],
)
def test_list_imports_nothing_heavy(what: str, name: str) -> None:
    items = {item["name"]: item for item in json.loads(run_list(what, "--format", "json"))}
    assert items[name]["origin"].startswith("lnlbench")
    assert items[name]["summary"]


def test_list_as_text_has_one_line_per_item() -> None:
    lines = run_list("noise").splitlines()
    assert [line.split()[0] for line in lines] == [
        "symmetric",
        "asymmetric",
        "instance",
        "human",
        "real",
        "none",
        "file",
    ]


def test_list_shows_collisions_and_unreadable_grids(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    from lnlbench.cli.list_ import command

    install("second", "2", points("ce = reg_two:CE"), reg_two="")
    command(["methods"], standalone_mode=False)
    assert capsys.readouterr().out.count("ambiguous") == 2
    site = install("mine", "1", f"[{GRIDS}]\nmine = reg_grids\n", folder="grids")
    (site / "reg_grids/grids").mkdir(parents=True)
    (site / "reg_grids/__init__.py").touch()
    (site / "reg_grids/grids/broken.toml").write_text("x = ")
    command(["grids"], standalone_mode=False)
    assert "cannot be read" in capsys.readouterr().out


def test_noise_list_is_complete() -> None:
    from lnlbench.cli.list_ import NOISE
    from lnlbench.spec import NOISE_TYPES

    assert tuple(NOISE) == NOISE_TYPES
