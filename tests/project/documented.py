"""The commands that README and docs print: found in the pages, and run as a reader would run them.

Every command of a page is run in the page's order, in one fresh folder, with its default executor;
what is appended to it (less data, fewer epochs and trials) and what must be there before stands in
:mod:`documented_needs`.
"""

from __future__ import annotations

import ast
import configparser
import importlib.util
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click
import given_plugins
import pytest
import timm
import tiny_models
import torch
from safetensors.torch import save_file

from lnlbench.cli import cli, main

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`(lnlbench [^`]*)`")
SHELLS = ("sh", "console")  # a ``bash`` block is a script

REPOSITORIES = {
    "vit": "google/vit-base-patch16-224",
    "vit-headless": "google/vit-large-patch16-224-in21k",
    "convnext": "facebook/convnext-tiny-224",
    "clip": "openai/clip-vit-base-patch16",
}

EXPENSIVE = ("run", "tune")  # train, unless --dry-run


def read(page: str | Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str | Path, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(read(page)) if kind == language]


def commands_of(text: str) -> Iterator[str]:
    """Yield the commands of a page in its order: the lines of shell blocks, and spans of lnlbench.

    A span of a verb alone (``lnlbench run``) names the verb, and is no command.
    """
    end = 0
    for found in BLOCK.finditer(text):
        yield from _spans(text[end : found.start()])
        if found[1] in SHELLS:
            yield from _lines(found[2])
        end = found.end()
    yield from _spans(text[end:])


def _spans(text: str) -> Iterator[str]:
    for span in SPAN.findall(text):
        command = " ".join(span.split())
        if not is_verb(command):
            yield command


def _lines(body: str) -> Iterator[str]:
    for line in body.replace("\\\n", " ").splitlines():
        # What a console block shows without a prompt is output, which starts no command.
        command = " ".join(line.removeprefix("$ ").split("#")[0].split())
        yield from (part.strip() for part in command.split("&&") if part.strip())


def calls_in(text: str) -> Iterator[str]:
    """Yield every call of lnlbench in a page: its commands, and those in scripts and after other words."""
    for command in commands_of(text):
        if "lnlbench " in command:
            yield command[command.index("lnlbench ") :]
    for kind, body in BLOCK.findall(text):
        if kind == "bash":
            yield from re.findall(r"^lnlbench [^&\n]*", body.replace("\\\n", " "), re.MULTILINE)


def resolve(command: str) -> tuple[click.Command, list[str], click.Context | None]:
    """Return the verb of a command of lnlbench as click finds it, with its arguments."""
    arguments = shlex.split(command)[1:]
    current: click.Command = cli
    context: click.Context | None = None
    while isinstance(current, click.Group) and arguments and not arguments[0].startswith("-"):
        context = click.Context(current, parent=context)
        _, found, arguments = current.resolve_command(context, arguments)
        assert found is not None, command
        current = found
    return current, arguments, context


def is_verb(command: str) -> bool:
    """Whether a command of lnlbench names one of its verbs without any argument."""
    return not resolve(command)[1]


def parse(command: str) -> None:
    """Parse a command of lnlbench as click would, without running it."""
    verb, arguments, context = resolve(command)
    if not isinstance(verb, click.Group) and arguments and "--help" not in arguments:
        verb.make_context(command, arguments, parent=context)


@dataclass(frozen=True)
class Needs:
    """What the commands of one page need to be run here.

    Attributes
    ----------
    before : tuple of callable
        Called before the commands with the page's fresh folder, which is the working folder.
    weights : bool
        Whether published weights must be there; see :func:`one_ray`.
    data : bool
        Whether ``LNLBENCH_DATA`` is ``~/data``, for pages that do not say again where data are.
    cuts : mapping of str to str
        What is appended to a command that trains.
    exits : mapping of str to tuple of int
        What a command may exit with, if not with 0, because of a cut or of what is missing here.
    not_run : mapping of str to str
        Commands that cannot run here, each with the reason.
    """

    before: tuple[Callable[[Path], None], ...] = ()
    weights: bool = False
    data: bool = False
    cuts: Mapping[str, str] = field(default_factory=dict)
    exits: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    not_run: Mapping[str, str] = field(default_factory=dict)


def trains(command: str) -> bool:
    words = shlex.split(command)
    return words[0] == "lnlbench" and words[1] in EXPENSIVE and not {"--dry-run", "--help"} & {*words}


def gaps(page: str, needs: Needs) -> list[str]:
    """Say what of a page's needs is missing, or no longer wanted."""
    commands = list(dict.fromkeys(commands_of(read(page))))
    where = f"tests/project/documented_needs.py, {page}"
    missing = [
        f"{page} has a command that trains: {command}. Add it to `cuts` in {where}, with what is to be "
        "appended so that it takes seconds; or to `not_run` with the reason."
        for command in commands
        if trains(command) and command not in {*needs.cuts, *needs.not_run}
    ]
    foreign = [
        f"{page} has a command that no rule of documented.py checks: {command}. Add a rule to "
        f"`check_other`, or the command to `not_run` in {where}, with the reason."
        for command in commands
        if not command.startswith("lnlbench ") and command not in needs.not_run and not _has_rule(command)
    ]
    listed = {*needs.cuts, *needs.exits, *needs.not_run}
    stale = [f"{where} has a command that is not in the page: {c}" for c in listed if c not in commands]
    return missing + foreign + stale


def run_page(
    page: str,
    needs: Needs,
    folder: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Run the commands of a page in its order; a failure shows the command and its output."""
    problems = gaps(page, needs)
    assert not problems, "\n".join(problems)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder / "home"))
    for name in ("LNLBENCH_DATA", "LNLBENCH_CACHE", "LNLBENCH_WEIGHTS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if needs.weights:
        monkeypatch.setenv("LNLBENCH_WEIGHTS", str(weights))
    if needs.data:
        monkeypatch.setenv("LNLBENCH_DATA", str(folder / "home" / "data"))
    for prepare in needs.before:
        prepare(folder)
    capsys.readouterr()
    printed = ""
    for command in commands_of(read(page)):
        if command in needs.not_run:
            continue
        if command.startswith("lnlbench "):
            call = f"{command} {needs.cuts.get(command, '')}".strip()
            printed += run(call, needs.exits.get(command, (0,)), capsys)
        else:
            check_other(command, monkeypatch)
    # The pages show what lnlbench says is to be fetched.
    for command in commands_of(read(page)):
        if command.startswith("hf download "):
            expected = " ".join(map(expand, command.split()))
            assert expected in printed, f"{page}: no command prints: {expected}"


def expand(word: str) -> str:
    """Replace ``~`` as a shell does."""
    return str(Path(word).expanduser()) if word.startswith("~") else word


def run(command: str, expected: tuple[int, ...], capsys: pytest.CaptureFixture[str]) -> str:
    """Run one command of lnlbench in this process, as a shell would start it; return what it prints."""
    given_plugins.forget()
    code = main([expand(word) for word in shlex.split(command)[1:]])
    printed = capsys.readouterr()
    if "DOCUMENTED_SHOW" in os.environ:
        with capsys.disabled():
            print(f"\n$ {command}\n{printed.out}{printed.err}")
    assert code in expected, f"$ {command}\n{printed.out}{printed.err}\nexit code {code}, not {expected}"
    return printed.out + printed.err


def one_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Hold one Ray for all commands of a file: starting it takes longer than what they do.

    Its workers find small networks of the hub's architectures where the published ones would lie, which
    tests cannot download; yields their folder.
    """
    from lnlbench.running.job import Job, Resources, available_cores
    from lnlbench.running.ray_session import ray_session
    from lnlbench.trials.workspace import RunSettings

    root = tmp_path_factory.mktemp("weights")
    for kind, repository in REPOSITORIES.items():
        tiny_models.save(kind, root / repository)
    place = root / "timm" / "resnet50.a1_in1k"
    place.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(timm.create_model("resnet50").state_dict(), place / "model.safetensors")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LNLBENCH_WEIGHTS", str(root))
        with ray_session(Job(RunSettings(data=None, cache=root), Resources(cpus=max(2, available_cores())))):
            yield root


# Commands of others


def check_other(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check a command that the suite must not run itself: that what it names exists."""
    words = shlex.split(command)
    if words[0] == "export":
        for word in words[1:]:
            name, _, value = word.partition("=")
            monkeypatch.setenv(name, expand(value))
    elif words[:2] == ["pip", "install"]:
        # Not run: it would install into the environment of the tests.
        config = configparser.ConfigParser(interpolation=None)
        config.read(ROOT / "setup.cfg", encoding="utf-8")
        for extras in re.findall(r"\[([\w,]+)\]", command):
            assert {*extras.split(",")} <= {*config["options.extras_require"]}, command
    elif words[:2] == ["tox", "-e"]:
        # Not run: it makes environments of gigabytes.
        assert re.search(rf"\b{words[2]}:", read("tox.ini")), command
    elif words[:2] == ["python", "-m"]:
        # Not run: a measurement takes a quarter of an hour; test_perf_smoke.py has its short form.
        spec = importlib.util.find_spec(words[2])
        assert spec is not None, command
        (folder,) = map(Path, spec.submodule_search_locations or ())
        path = folder / "gpu" / "command.py" if words[3:4] == ["gpu"] else folder / "__main__.py"
        main_module = ast.parse(path.read_text(encoding="utf-8"))
        options = {node.value for node in ast.walk(main_module) if isinstance(node, ast.Constant)}
        assert {word for word in words if word.startswith("--")} <= options, command
    else:
        assert _has_rule(command), command


def _has_rule(command: str) -> bool:
    words = shlex.split(command)
    known = (["pip", "install"], ["tox", "-e"], ["python", "-m"], ["python3", "-m"])
    # The tools of CONTRIBUTING.md and the activation of an environment: continuous integration runs them.
    return words[:2] in known or words[0] in ("export", "hf", ".", "pytest", "ruff", "mypy")
