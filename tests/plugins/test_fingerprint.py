"""Which changes of a source file are changes of its code."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lnlbench.errors import PluginError
from lnlbench.plugins.find import METHODS, Plugin
from lnlbench.plugins.fingerprint import code_of, modules_of, source_fingerprint
from lnlbench.plugins.registry import Registry

ROOT = Path(__file__).parents[2]

SOURCE = '''
"""A module."""
from lnlbench.api import Method

class Mine(Method):
    """A method."""

    scale: float = 2.0  # why not

    def loss(self, batch):
        """Return the loss."""
        return batch.inputs.mean() * self.scale

    def nothing(self, *, given, other=None):
        return {**given, "x": None}
'''


def fingerprint_of(tmp_path, text, name="mine.py"):
    path = tmp_path / name
    path.write_text(text)
    return source_fingerprint(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # why not", "  # because"),
        ('"""A module."""', '"""The same module, explained."""'),
        ('    """A method."""\n', ""),
        ('        """Return the loss."""\n', ""),
        ("\n\n    def", "\n    def"),
        ('"x"', "'x'"),
        ("2.0", "2.00"),
        ("    scale", "    distributed = True\n    scale"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(tmp_path, old, new):
    assert old in SOURCE
    assert fingerprint_of(tmp_path, SOURCE.replace(old, new)) == fingerprint_of(tmp_path, SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2.0", "3.0"),
        ("2.0", "2"),
        ("mean", "sum"),
        ("None}", "False}"),
        ("other=None", "other"),
        ("*, given", "given"),
        ("(Method)", "(object)"),
        ('"x"', '"y"'),
        ("**given, ", ""),
        ("return batch", "batch"),
        ("    scale", "    distributed = bool(1)\n    scale"),
        ("    scale", "    other = True\n    scale"),
    ],
)
def test_everything_that_is_executed_counts(tmp_path, old, new):
    assert old in SOURCE
    assert fingerprint_of(tmp_path, SOURCE.replace(old, new)) != fingerprint_of(tmp_path, SOURCE)


def test_the_name_of_the_file_does_not_count(tmp_path):
    assert fingerprint_of(tmp_path, SOURCE, "other.py") == fingerprint_of(tmp_path, SOURCE)


def test_a_string_that_is_no_docstring_counts(tmp_path):
    one, two = (f'def f():\n    x = 1\n    yield "{text}"\n' for text in ("one", "two"))
    assert fingerprint_of(tmp_path, one) != fingerprint_of(tmp_path, two)


def test_it_is_the_same_in_every_process(tmp_path):
    here = fingerprint_of(tmp_path, SOURCE)
    code = "import sys, pathlib, lnlbench.plugins.fingerprint as f\n"
    code += "print(f.source_fingerprint(pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(tmp_path / "mine.py")]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert there.strip() == here


@pytest.mark.parametrize("content", [b"class Mine(:", b"\x7fELF\x00\x01", b"\xff\xfe = 1"])
def test_what_is_no_python_source_is_hashed_as_it_is(tmp_path, content):
    path = tmp_path / "mine.so"
    path.write_bytes(content)
    with pytest.raises((SyntaxError, ValueError)):
        ast.parse(content)
    before = source_fingerprint(path)
    path.write_bytes(content + b" ")
    assert source_fingerprint(path) != before


# What a plugin is made of


@pytest.fixture
def tree(tmp_path):
    """A copy of our sources that may be edited, and the fingerprints of our methods in it."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "lnlbench", tmp_path / "lnlbench", ignore=ignore)
    shutil.copytree(ROOT / "methods", tmp_path / "lnlbench/methods", ignore=ignore)
    code = "import json; from lnlbench.plugins.registry import methods as m\n"
    code += "print(json.dumps({e.name: m().fingerprint(e.name) for e in m().entries()}))"

    def fingerprints():
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    return tmp_path / "lnlbench", fingerprints


def test_a_component_belongs_to_the_methods_that_import_it(tree):
    folder, fingerprints = tree
    before = fingerprints()

    def changed_by(file, text):
        path = folder / file
        original = path.read_text()
        path.write_text(original + text)
        changed = {name for name, code in fingerprints().items() if code != before[name]}
        path.write_text(original)
        return changed

    assert changed_by("components/cotraining.py", "\nEXTRA = 1\n") == {"dividemix", "unicon"}
    assert changed_by("components/cotraining.py", "\n# A comment.\n") == set()
    assert changed_by("methods/ce.py", "\nEXTRA = 1\n") == {"ce"}
    # Directly, and through cotraining.
    assert changed_by("components/mixture.py", "\nEXTRA = 1\n") == {
        "clipcleaner",
        "deft",
        "dividemix",
        "select_then_tune",
        "turn",
    }
    # The core has a version.
    assert changed_by("api/method.py", "\nEXTRA = 1\n") == set()
    assert changed_by("models/network.py", "\nEXTRA = 1\n") == set()


def write(folder, **files):
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(plugin):
    return set(modules_of(plugin))


def test_a_plugin_given_by_path_is_made_of_what_lies_beside_it(tmp_path):
    write(
        tmp_path,
        mine="import json, torch, helper\nimport package.part\nclass Mine: pass\n",
        helper="from other import VALUE\nimport mine\n",  # in a circle
        other="VALUE = 1\n",
        unused="VALUE = 1\n",
        json="VALUE = 1\n",  # what is imported is Python's own
        package__part="from . import deeper\nfrom .sub.leaf import f\ndef g():\n    from .. import none\n",
        package__deeper="",
        package__aside="",
        package__sub__leaf="from ..level import up\n",
        package__level="",
    )
    (tmp_path / "package/__init__.py").write_text("from . import aside\n")
    plugin = Plugin(METHODS, "mine", "Mine", path=tmp_path / "mine.py")
    parts = {"helper", "other", "package", "package.part", "package.deeper", "package.aside"}
    assert names(plugin) == parts | {"package.sub.leaf", "package.level"}
    before = code_of(plugin)
    write(tmp_path, unused="VALUE = 2\n")
    assert code_of(plugin) == before
    write(tmp_path, other="VALUE = 2\n")
    assert code_of(plugin) != before


def test_an_installed_plugin_is_made_of_its_distribution(tmp_path, monkeypatch):
    site = tmp_path / "site"
    write(
        site,
        fp_mine="import fp_helper, fp_others, lnlbench.api\nfrom lnlbench.components import mixture\n",
        fp_helper="import fp_package.part",
        fp_others="",
        fp_package__part="raise RuntimeError",
    )
    info = site / "mine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (info / "top_level.txt").write_text("fp_helper\nfp_mine\nfp_package\n")
    monkeypatch.syspath_prepend(site)
    plugin = Plugin(METHODS, "mine", "fp_mine:Mine", "mine", "1")
    ours = {"lnlbench.components", "lnlbench.components.mixture"}
    assert names(plugin) == {"fp_helper", "fp_package.part"} | ours
    (info / "top_level.txt").unlink()
    (info / "RECORD").write_text("fp_mine.py,,\nfp_helper.py,,\n")
    assert names(plugin) == {"fp_helper"} | ours


def test_modules_are_named_and_not_counted_by_their_order(tmp_path):
    plugin = Plugin(METHODS, "mine", "Mine", path=tmp_path / "mine.py")
    write(tmp_path, mine="import one\nimport two\n", one="VALUE = 1\n", two="VALUE = 2\n")
    before = code_of(plugin)["fingerprint"]
    write(tmp_path, one="VALUE = 2\n", two="VALUE = 1\n")
    assert code_of(plugin)["fingerprint"] != before
    write(tmp_path, one="VALUE = 1\nimport two\n", two="VALUE = 2\n")
    first = code_of(plugin)["fingerprint"]
    write(tmp_path, one="VALUE = 1\nimport two, mine\n")
    assert code_of(plugin)["fingerprint"] not in (first, before)


def test_a_plugin_given_by_path_may_import_what_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    methods = Registry(METHODS, "fp_base:Base")
    write(tmp_path / "base", fp_base="class Base: pass\n")
    sys.path.append(str(tmp_path / "base"))
    text = "import fp_beside\nfrom fp_base import Base\nclass Mine(Base):\n    value = fp_beside.VALUE\n"
    for folder, value in (("a", 1), ("b", 2)):
        write(tmp_path / folder, mine=text, fp_beside=f"VALUE = {value}\n")
    methods.add_path(f"{tmp_path}/a/mine.py")
    assert methods.load("mine").value == 1
    # Python has one module of a name: the second plugin would silently get the first one's.
    other = Registry(METHODS, "fp_base:Base")
    other.add_path(f"{tmp_path}/b/mine.py")
    with pytest.raises(PluginError, match=r"module 'fp_beside' .* has the name of another that is in use"):
        other.load("mine")
    for name in ("fp_beside", "fp_base"):
        del sys.modules[name]
