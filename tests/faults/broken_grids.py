"""Grid files that are malformed by construction: a valid one with one thing in it broken."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

from hypothesis import strategies as st

from lnlbench.grids.grid_file import KEYS, SETTING_TABLES
from lnlbench.spec import LARGEST, NOISE_TYPES

VALID: dict[str, Any] = {
    "schema": 1,
    "title": "A grid",
    "description": "For mutation.",
    "seeds": [0, 1],
    "dataset": "digits",
    "backbone": ["efficientnet_lite0"],
    "noise": ["symmetric-0.6", "asymmetric-0.4", "none"],
    "precision": "fp32",
    "dataset_options": {"train_per_class": 20, "validation_fraction": 0.1, "validation_labels": "noisy"},
    "backbone_options": {"image_size": 32, "weights": "pretrained"},
    "noise_options": {"symmetric": {"variant": "exclusive"}},
    "lp": {
        "epochs": 2,
        "batch_size": 64,
        "lr": 0.01,
        "weight_decay": 1e-4,
        "optimizer": "sgd",
        "cache": True,
    },
    "fft": {"epochs": 1, "lr": 1e-3, "momentum": 0.9, "schedule": "cosine", "batch_norm": "frozen"},
    "lp-fft": {"lp": {"epochs": 3}},
    "methods": {"turn": {"tau": 0.6}, "gce": {"q": 0.7}},
    "rows": [
        {"tuning": ["lp", "fft"], "method": ["ce", "gce"]},
        {"tuning": "lp-fft", "method": "turn"},
    ],
    "override": [{"where": {"method": "gce"}, "set": {"lp.batch_size": 32}, "reason": "memory"}],
    "exclude": [{"where": {"noise": "none", "seed": "1"}, "reason": "one is enough"}],
    "table": {
        "rows": ["tuning", "method"],
        "columns": "noise",
        "metric": "best / last",
        "extra": ["train_s"],
    },
}

Place = tuple[str | int, ...]
Document = dict[str, Any]


def path_of(text: str) -> Place:
    """Read ``rows/0/method``: keys, and numbers in arrays."""
    return tuple(int(part) if part.isdecimal() else part for part in text.split("/"))


def words(text: str) -> list[str]:
    return text.split()


def paths(text: str) -> list[Place]:
    return [path_of(part) for part in words(text)]


def toml(value: Any) -> str:
    """Write a value of TOML, tables inline."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        # TOML's escapes are JSON's, but for DEL, which JSON does not escape.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{toml(str(key))} = {toml(item)}' for key, item in value.items())}}}"
    return repr(value)


def write(document: Document) -> str:
    """Write a document with headers for its tables."""
    plain, tables = [], []
    for key, value in document.items():
        if isinstance(value, dict):
            tables += [f"[{toml(key)}]", *(f"{toml(name)} = {toml(item)}" for name, item in value.items())]
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            for item in value:
                tables.append(f"[[{toml(key)}]]")
                tables += [f"{toml(name)} = {toml(inner)}" for name, inner in item.items()]
        else:
            plain.append(f"{toml(key)} = {toml(value)}")
    return "\n".join([*plain, *tables, ""])


def put(document: Document, path: Place, value: Any) -> Document:
    """Return a copy with the value at a path replaced."""
    changed = copy.deepcopy(document)
    *parents, last = path
    inner: Any = changed
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return changed


def remove(document: Document, path: Place) -> Document:
    changed = copy.deepcopy(document)
    *parents, last = path
    inner: Any = changed
    for key in parents:
        inner = inner[key]
    del inner[last]
    return changed


# What each kind of value cannot be.

names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)
unknown = names.filter(lambda name: name.strip() not in REAL_NAMES and not name.strip().isdecimal())
REAL_NAMES = {
    *(*KEYS, *SETTING_TABLES, *NOISE_TYPES, "lp", "fft", "lp-fft", ""),
    *words("ce gce elr elr_plus dividemix unicon turn digits cifar10 cifar100 features imagefolder npz"),
    *words("efficientnet_lite0 hf timm torchvision lp fft lp-fft sgd adamw constant cosine none weak"),
    *words("update frozen auto fp32 bf16 noisy clean pretrained best last oracle true false default"),
    *words("exclusive inclusive where set reason tuning method"),
}
no_text = st.one_of(st.integers(), st.floats(), st.booleans(), st.just([]), st.just({}), st.just([1]))
no_bool = st.one_of(st.integers(), st.floats(), names, st.just([]), st.just({}))
no_count = st.one_of(
    st.integers(max_value=0),
    st.integers(min_value=LARGEST + 1),
    st.floats(),
    st.booleans(),
    unknown,
    st.just([]),
    st.just({}),
)
no_positive = st.one_of(
    st.integers(max_value=0),
    st.floats(max_value=0.0),
    st.sampled_from([math.nan, math.inf, -math.inf, 10**400]),
    st.booleans(),
    unknown,
    st.just({}),
    st.lists(st.floats(0.1, 1), max_size=2),
)
no_share = st.one_of(no_positive, st.floats(min_value=1.0), st.integers(min_value=1))
no_choice = st.one_of(unknown, no_text)
no_axis = st.one_of(
    no_text, st.just(""), st.lists(st.one_of(st.integers(), st.just("")), min_size=1), unknown
)
no_seeds = st.one_of(
    unknown.filter(lambda text: not any(symbol.isdecimal() for symbol in text)),
    st.just([]),
    st.just({}),
    st.booleans(),
    st.floats(),
    st.integers(),
    st.lists(st.one_of(st.floats(), names, st.booleans(), st.integers(max_value=-1)), min_size=1),
    st.sampled_from(["0-", "-1", "4-0", "0-99999999999", "9" * 5000, "1,,2", "٣"]),
)
no_noise = st.one_of(
    no_axis,
    st.floats(min_value=1.0, exclude_min=True).map(lambda rate: f"symmetric-{rate}"),
    st.floats(max_value=0.0, exclude_max=True).map(lambda rate: f"instance-{rate}"),
    st.sampled_from(
        ["symmetric", "symmetric-", "symmetric-nan", "none-0.1", "real-1", "file:", "asymmetric-x"]
    ),
)
no_condition = st.one_of(
    no_text,
    st.dictionaries(unknown, names, max_size=2),
    st.fixed_dictionaries({"method": unknown}),
    st.fixed_dictionaries({"seed": st.integers(min_value=2)}),
    st.fixed_dictionaries({"rate": st.just(math.nan)}),
)

WRONG_VALUES: list[tuple[str, st.SearchStrategy[Any]]] = [
    ("schema", st.one_of(st.integers().filter(lambda n: n != 1), names, st.just([]), st.just({}))),
    ("title", no_text),
    ("description", no_text),
    ("seeds", no_seeds),
    ("dataset", no_axis),
    ("backbone", no_axis),
    ("noise", no_noise),
    ("precision", no_choice),
    *((table, st.one_of(st.integers(), names, st.just([]), st.booleans())) for table in SETTING_TABLES),
    ("dataset_options/train_per_class", no_count),
    ("dataset_options/validation_fraction", no_share),
    ("dataset_options/validation_labels", no_choice),
    ("backbone_options/image_size", st.one_of(no_count, st.integers(1, 7), st.integers(8193, LARGEST))),
    ("backbone_options/weights", no_choice),
    ("noise_options/symmetric/variant", no_choice),
    ("noise_options/symmetric", st.one_of(st.integers(), names, st.just([]))),
    ("lp/epochs", no_count),
    ("lp/batch_size", no_count),
    ("lp/lr", no_positive),
    (
        "lp/weight_decay",
        st.one_of(st.floats(max_value=0.0, exclude_max=True), st.just(math.nan), unknown),
    ),
    ("lp/optimizer", no_choice),
    ("lp/cache", no_bool),
    (
        "fft/momentum",
        st.one_of(st.floats(min_value=1.0), st.integers(min_value=1), unknown, st.booleans()),
    ),
    ("fft/schedule", no_choice),
    ("fft/batch_norm", no_choice),
    ("lp-fft/lp", st.one_of(st.integers(), names, st.just([]))),
    ("lp-fft/lp/epochs", no_count),
    ("methods/turn", st.one_of(st.integers(), names, st.just([]))),
    (
        "methods/turn/tau",
        st.one_of(unknown, st.just([]), st.just({}), st.booleans(), st.just(math.nan)),
    ),
    (
        "methods/gce/q",
        st.one_of(unknown, st.just([1.0]), st.just({}), st.booleans(), st.just(math.inf)),
    ),
    ("rows", st.one_of(no_text, names)),
    ("rows/0/tuning", no_axis),
    ("rows/0/method", no_axis),
    ("rows/1/method", no_axis),
    ("override", st.one_of(st.integers(), names, st.just([1]), st.just({}))),
    ("override/0/where", no_condition),
    ("override/0/set", st.one_of(no_text, names, st.dictionaries(unknown, st.integers(), max_size=2))),
    ("override/0/set/lp.batch_size", no_count),
    ("exclude", st.one_of(st.integers(), names, st.just([1]), st.just({}))),
    ("exclude/0/where", no_condition),
    ("exclude/0/reason", st.one_of(no_text, st.just("  "))),
    ("table", st.one_of(st.integers(), names, st.just([]))),
    ("table/rows", st.one_of(no_text, st.just(""))),
    ("table/metric", st.one_of(no_text, st.just(""))),
]

REQUIRED = paths(
    "schema dataset backbone noise rows rows/0/tuning rows/0/method rows/1/tuning rows/1/method fft lp "
    "fft/epochs lp/epochs override/0/where override/0/set override/0/set/lp.batch_size exclude/0/where "
    "exclude/0/reason"
)

CLOSED_TABLES = [
    (),
    *paths(
        "dataset_options backbone_options noise_options noise_options/symmetric lp fft lp-fft lp-fft/lp "
        "methods/turn methods/gce rows/0 rows/1 override/0 override/0/where override/0/set exclude/0 "
        "exclude/0/where table"
    ),
]

TEXTS = paths(
    "title description dataset backbone/0 noise/0 precision rows/1/method rows/1/tuning exclude/0/reason "
    "table/metric lp/optimizer table/rows/0"
)
control = st.sampled_from([chr(code) for code in (*range(9), 11, 12, *range(14, 32), *range(127, 160))])


@st.composite
def mutated_grids(draw: st.DrawFn) -> bytes:
    """A grid file with one thing in it broken."""
    document = copy.deepcopy(VALID)
    # Around what is broken, tables that may be missing, and a changed order of the rest.
    for path in draw(st.sets(st.sampled_from(["description", "precision", "table", "exclude"]), max_size=2)):
        del document[path]
    kinds = [_wrong_value] * 3
    kinds += [_missing, _unknown_key, _control_character, _broken_text, _doubled]
    text = draw(st.sampled_from(kinds))(draw, document)
    return text if isinstance(text, bytes) else text.encode()


def _present(document: Document, path: Place) -> bool:
    return not path or path[0] in document


def _wrong_value(draw: st.DrawFn, document: Document) -> str:
    places = [item for item in WRONG_VALUES if item[0].split("/")[0] in document]
    path, values = draw(st.sampled_from(places))
    return write(put(document, path_of(path), draw(values)))


def _missing(draw: st.DrawFn, document: Document) -> str:
    return write(
        remove(document, draw(st.sampled_from([path for path in REQUIRED if _present(document, path)])))
    )


def _unknown_key(draw: st.DrawFn, document: Document) -> str:
    places = [path for path in CLOSED_TABLES if _present(document, path)]
    path = draw(st.sampled_from(places))
    value = draw(
        st.one_of(st.integers(), names, st.booleans(), st.floats(), st.lists(st.integers(), min_size=1))
    )
    return write(put(document, (*path, draw(unknown)), value))


def _control_character(draw: st.DrawFn, document: Document) -> str:
    path = draw(st.sampled_from([path for path in TEXTS if _present(document, path)]))
    inner: Any = document
    for key in path:
        inner = inner[key]
    cut = draw(st.integers(0, len(inner)))
    return write(put(document, path, inner[:cut] + draw(control) + inner[cut:]))


NO_LINES = [
    *(b"=", b"x =", b"x = [", b'x = "', b"[x", b"[[x]", b"x = {", b"x y = 1", b"x = 1 2", b"x = 01", b"]"),
    *(b"\x00", b"\xff", b"\xed\xa0\x80", b"x = 1979-13-01", b"x = tru", b'x = "\\q"', b"x = '''"),
    *(b"x = " + b"[" * 3000, b"x = " + b"9" * 5000, b"x" + b".x" * 3000 + b" = 1"),
]


def _broken_text(draw: st.DrawFn, document: Document) -> bytes:
    """A line that no TOML has, somewhere."""
    lines = write(document).encode().split(b"\n")
    broken = draw(st.sampled_from(NO_LINES))
    lines.insert(draw(st.integers(0, len(lines))), broken)
    return b"\n".join(lines)


def _doubled(draw: st.DrawFn, document: Document) -> str:
    """A key or a table that stands twice."""
    lines = write(document).split("\n")
    single = [
        number
        for number, line in enumerate(lines)
        if " = " in line or (line.startswith("[") and line[1] != "[")
    ]
    number = draw(st.sampled_from(single))
    return "\n".join([*lines[: number + 1], lines[number], *lines[number + 1 :]])


raw_files = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=300).map(lambda text: text.encode()),
    # Pieces of a grid in any order, without the key that says that it is one.
    st.lists(
        st.one_of(
            st.sampled_from([line for line in write(VALID).split("\n") if line and "schema" not in line]),
            st.text(st.sampled_from(" =\"[]{}.,#'\n\\019aZ_-ё\x00\x1b"), max_size=12),
        ),
        max_size=25,
    ).map(lambda lines: "\n".join(lines).encode()),
)
