"""Command lines that are malformed by construction, for a folder with the valid grid ``valid.toml``."""

from __future__ import annotations

from collections.abc import Iterator

import click
from broken_grids import names, no_choice, no_count, no_noise, no_positive, toml, unknown
from hypothesis import strategies as st

from lnlbench.cli import VERBS, cli

RUN = ("run", "--grid", "valid.toml", "--dry-run")
# An argument cannot hold a NUL, and the system hands on bytes that are not UTF-8 as surrogates.
arguments = st.text(st.characters(exclude_characters="\0"), max_size=20)
bad_characters = st.tuples(names, st.sampled_from(["\x1b[31m", "\n", "\r", "\udce9", "\x9b0m"]), names).map(
    "".join
)


def all_options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from (name for name in parameter.opts if name.startswith("--"))
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from all_options(command.get_command(context, name) or click.Command(name))


OPTIONS = sorted({*all_options(cli), "--help"})
# Alone on a command line they are no mistake.
FLAGS = {
    name
    for parameter in cli.get_command(click.Context(cli), "run").params
    if getattr(parameter, "is_flag", False)
    for name in parameter.opts
} | {"--help", "--version"}
unknown_option = names.map(lambda name: f"--{name.lstrip('-')}").filter(
    lambda option: not any(known.startswith(option.partition("=")[0]) for known in OPTIONS)
)
long_name = st.integers(300, 5000).map(lambda length: "a" * length)

bad_set = st.one_of(
    unknown,
    st.tuples(unknown, names).map("=".join),
    st.sampled_from(
        ["lp.epochs=", "=3", "=", "seeds=", "noise=", "dataset=", "lp=3", "methods=1", "title=x"]
    ),
    no_count.map(lambda value: f"lp.epochs={toml(value)}"),
    no_positive.map(lambda value: f"fft.lr={toml(value)}"),
    no_choice.map(lambda value: f"optimizer={toml(value)}"),
    no_noise.filter(lambda value: isinstance(value, str)).map(lambda value: f"noise={value}"),
    unknown.map(lambda value: f"method={value}"),
    unknown.map(lambda value: f"dataset={value}"),
    unknown.map(lambda value: f"backbone={value}"),
    unknown.map(lambda value: f"methods.gce.{value}=1"),
    unknown.map(lambda value: f"methods.gce.q={value}"),
    st.sampled_from(
        ["lp.lr=" + "[" * 5000, "lp.lr=" + "9" * 5000, "lp.epochs=1979-05-27", "dataset=npz:~no-such-user/x"]
    ),
    long_name.map(lambda name: f"noise=file:{name}"),
    bad_characters.map(lambda text: f"dataset={text}"),
)
bad_where = st.one_of(
    unknown,
    st.tuples(unknown, names).map("=".join),
    unknown.map(lambda value: f"method={value}"),
    unknown.map(lambda value: f"noise={value}"),
    st.sampled_from(
        ["method=", "=ce", "method=ce,,", "seed=9", "seed=0-999999999999", "rate=nan", "rate=0.7"]
    ),
    bad_characters.map(lambda text: f"method={text}"),
)
bad_seeds = st.one_of(
    unknown.filter(lambda text: not any(symbol.isdecimal() for symbol in text)),
    st.sampled_from(
        ["", "-1", "1-", "3-1", "0-99999999", "9" * 5000, "0-99999,100000-199999", "1.5", "٣", "1\n"]
    ),
)
no_number = st.one_of(unknown, st.sampled_from(["0", "-1", "nan", "1" * 400, "", "1e", "0x1"]))


def option(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return values.map(lambda value: (*RUN, f"{name}={value}"))


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command line with one thing wrong with it."""
    wrong: list[st.SearchStrategy[tuple[str, ...]]] = [
        option("--set", bad_set),
        option("--set", bad_set),
        option("--where", bad_where),
        option("--seeds", bad_seeds),
        option("--retry", unknown.filter(lambda word: word not in ("failed", "stale", "all"))),
        option("--executor", unknown.filter(lambda word: word not in ("ray", "inline"))),
        option("--jobs", no_number),
        option("--cpus-per-trial", no_number),
        option("--gpus-per-trial", st.one_of(unknown, st.sampled_from(["-1", "nan", "inf", "", "1e400"]))),
        option("--trial-timeout", no_number),
        option(
            "--plugin", st.one_of(unknown, long_name, st.just("~no-such-user/x.py"), st.just("valid.toml"))
        ),
        option("--out", st.one_of(st.sampled_from(["valid.toml", "/dev/null"]), long_name, bad_characters)),
        st.one_of(unknown, long_name).map(lambda name: ("run", "--dry-run", f"--grid={name}")),
        st.sampled_from(["/dev/zero", "", ".", "..", "/", ".toml", "../x.toml"]).map(
            lambda name: ("run", "--dry-run", f"--grid={name}")
        ),
        st.tuples(st.sampled_from([*VERBS]), unknown_option),
        unknown.filter(lambda name: not name.startswith("-")).map(lambda name: (name,)),
        unknown_option.map(lambda name: (name,)),
        bad_characters.map(lambda text: ("list", text)),
        st.sampled_from([name for name in OPTIONS if name not in FLAGS]).map(lambda name: (*RUN, name)),
        unknown.map(lambda name: (*RUN, f"x{name}")),
        unknown.map(lambda name: ("list", name)),
        unknown.map(lambda name: ("data", name)),
        unknown.map(lambda name: ("data", "check", f"x{name}")),
        unknown.map(lambda name: ("data", "fetch", f"x{name}")),
        unknown.map(lambda name: ("check", f"x{name}")),
        unknown.map(lambda name: ("new", "method", f"-{name}")),
        unknown.map(lambda name: ("new", "method", f"{name}!")),
        st.tuples(
            st.sampled_from(["status", "table", "export"]),
            st.one_of(unknown, long_name, st.sampled_from(["/dev/zero", "."])).map(
                lambda name: f"--out={name}"
            ),
        ),
        st.tuples(
            st.sampled_from(["status", "table", "export"]), names.map(lambda name: f"--format=x{name}")
        ),
    ]
    line = list(draw(draw(st.sampled_from(wrong))))
    # What is right about it does not help.
    right = [("--set", "lp.epochs=1"), ("--where", "method=ce"), ("--seeds", "3"), ("--jobs", "2")]
    if line[:4] == list(RUN) and draw(st.booleans()):
        key, value = draw(st.sampled_from(right))
        if not any(argument.startswith(key) for argument in line):
            line[4:4] = [key, value]
    return line


@st.composite
def any_arguments(draw: st.DrawFn) -> list[str]:
    """Options in any order with any values: what comes out is not known, but how it is said."""
    line = list(RUN)
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from([name for name in OPTIONS if name != "--ray-address"]))
        line += [
            name,
            draw(st.one_of(arguments, st.sampled_from(["ce", "lp.epochs=1", "0-3", "text", "csv"]))),
        ]
    return line
