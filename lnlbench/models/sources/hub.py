"""Files of Hugging Face hub repositories: on this machine, or downloaded.

Looked for in this order: the folder that ``LNLBENCH_WEIGHTS`` names, the hub's own cache, the
hub. Where weights come from is no part of a trial's identity; what they are is in its record,
as a fingerprint.

Only JSON and safetensors files are ever fetched. Pickled weights can run code when they
are read, so they are not downloaded and not opened.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from lnlbench.basics.paths import expand
from lnlbench.basics.printable import shorten
from lnlbench.errors import UsageError, WeightsError
from lnlbench.models.sources import hub_checksum

OFFLINE_VARIABLE = "LNLBENCH_WEIGHTS"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
# Named one by one: repositories also hold tokenisers and weights of other libraries.
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
FILES = ("config.json", *PROCESSOR_FILES)
WEIGHT_FILES = (WEIGHTS_FILE, INDEX_FILE, "model-*.safetensors")
TOKENISER_FILE = "tokenizer.json"
PICKLES = ("*.bin", "*.pth", "*.pt", "*.ckpt", "*.pkl")


def looks_local(reference: str) -> bool:
    """Whether a reference is a path rather than the name of a hub repository."""
    return reference.startswith((".", "/", "~")) or Path(reference).exists()


def lacking(folder: Path, *, configuration: bool, weights: bool, tokeniser: bool = False) -> str | None:
    """Name the file that a model's folder lacks, or None if it is complete.

    Parameters
    ----------
    folder : Path
    configuration : bool
        Whether the configurations of the model and of its image processor are needed.
    weights : bool
        Whether weights are needed; if they are sharded, all shards.
    tokeniser : bool
        Whether a tokeniser is needed.
    """
    if configuration and not (folder / "config.json").is_file():
        return "config.json"
    if configuration and not any((folder / name).is_file() for name in PROCESSOR_FILES):
        return PROCESSOR_FILES[0]
    if tokeniser and not (folder / TOKENISER_FILE).is_file():
        return TOKENISER_FILE
    if not weights or (folder / WEIGHTS_FILE).is_file():
        return None
    index = folder / INDEX_FILE
    if not index.is_file():
        return WEIGHTS_FILE
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        unsafe = [shard for shard in shards if not re.fullmatch(r"model[\w.-]*\.safetensors", shard)]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise WeightsError(f"'{index}' is not an index of weights ({error!r}).", "Fetch it again.") from error
    if unsafe:
        # transformers would unpickle files of other formats, wherever they are.
        raise WeightsError(
            f"'{index}' asks for weights in '{shorten(unsafe[0])}'.",
            "Weights are read from files model*.safetensors beside the index only.",
        )
    return next((shard for shard in shards if not (folder / shard).is_file()), None)


def offline_root() -> Path | None:
    """Return the user's own folder of models (``LNLBENCH_WEIGHTS``), or None if none is set."""
    folder = os.environ.get(OFFLINE_VARIABLE)
    return expand(folder) if folder else None


def offline_folder(repository: str, revision: str | None) -> Path | None:
    """Return where a repository belongs in the user's folder of models, there or not.

    That is ``OWNER/NAME``, and ``OWNER/NAME@REVISION`` for a pinned revision (with ``--`` for
    slashes): files in a folder do not say which revision they are.
    """
    root = offline_root()
    if root is None:
        return None
    return root / (f"{repository}@{revision.replace('/', '--')}" if revision else repository)


def own_folder(reference: str, revision: str | None) -> Path | None:
    """Return the folder that the user has given for a model, by its path or by its name, or None."""
    if looks_local(reference):
        return expand(reference)
    folder = offline_folder(reference, revision)
    return folder if folder is not None and folder.is_dir() else None


def cached(repository: str, revision: str | None) -> Path | None:
    """Return the folder of a repository's files in the hub's cache, or None."""
    return _snapshot(repository, revision, (), local=True)


def find_problem(
    reference: str, revision: str | None, *, configuration: bool, weights: bool, tokeniser: bool = False
) -> tuple[str, str] | None:
    """Say what a model lacks on this machine and what to do about it, or None if nothing.

    Parameters
    ----------
    reference : str
        Path of a folder, or name of a hub repository.
    revision : str or None
        Of the repository; None takes the current one.
    configuration, weights, tokeniser : bool
        What is needed, see :func:`lacking`.
    """
    wanted = {"configuration": configuration, "weights": weights, "tokeniser": tokeniser}
    folder = own_folder(reference, revision)
    if folder is not None:
        fetch = None if looks_local(reference) else _fetch_hint(reference, revision)
        return local_problem(folder, **wanted, fetch=fetch)
    found = cached(reference, revision)
    if found is None:
        return describe_missing(reference, revision, "config.json" if configuration else WEIGHTS_FILE)
    lack = lacking(found, **wanted)
    return describe_missing(reference, revision, lack) if lack is not None else None


def describe_missing(repository: str, revision: str | None, name: str) -> tuple[str, str]:
    """Return what is missing from a hub repository on this machine, and the command that fetches it."""
    at = f" at revision '{revision}'" if revision else ""
    return (
        f"{name} of the hub repository '{repository}'{at} is not on this machine.",
        _fetch_hint(repository, revision),
    )


def _fetch_hint(repository: str, revision: str | None) -> str:
    command = ["hf", "download", repository]
    if revision:
        command += ["--revision", revision]
    # Not the whole repository: many hold the same weights in several formats.
    command += ["--include", "*.json", "--include", "model*.safetensors"]
    folder = offline_folder(repository, revision)
    if folder is not None:
        command += ["--local-dir", str(folder)]
    return f"Fetch it with: {shlex.join(command)}"


def model_folder(
    reference: str, revision: str | None, *, configuration: bool, weights: bool, tokeniser: bool = False
) -> Path:
    """Return a complete folder of a local path or hub repository, downloading what is missing.

    A copy on this machine is used as it is, without asking the hub for a newer one: all trials
    of a run see the same weights. Pin ``revision`` to say which. A model in the user's own folder
    that is not complete is an error, so that it is never another one that is used.

    Raises
    ------
    WeightsError
        If files are missing and cannot be downloaded, if downloaded ones are damaged, or if weights
        exist only as pickles.
    """
    wanted = {"configuration": configuration, "weights": weights, "tokeniser": tokeniser}
    folder = own_folder(reference, revision)
    if folder is not None:
        problem = find_problem(reference, revision, **wanted)
        if problem:
            raise WeightsError(*problem)
        return folder
    found = cached(reference, revision)
    patterns = FILES + (WEIGHT_FILES if weights else ()) + ((TOKENISER_FILE,) if tokeniser else ())
    if found is not None and lacking(found, **wanted) is None:
        hub_checksum.verify(found, patterns)
        return found
    found = _snapshot(reference, revision, patterns, local=False)
    lack = lacking(found, **wanted) if found is not None else "config.json" if configuration else WEIGHTS_FILE
    if found is None:
        raise WeightsError(*describe_missing(reference, revision, str(lack)))
    if lack is not None:
        raise WeightsError(
            f"The hub repository '{reference}' has no {lack} that could be downloaded.",
            safetensors_hint() if lack == WEIGHTS_FILE else None,
        )
    hub_checksum.verify(found, patterns)
    return found


def local_problem(
    folder: Path, *, configuration: bool, weights: bool, tokeniser: bool = False, fetch: str | None = None
) -> tuple[str, str] | None:
    """Say what is wrong with a local model folder and what to do, or None if it is complete.

    Parameters
    ----------
    folder : Path
    configuration, weights, tokeniser : bool
        What is needed, see :func:`lacking`.
    fetch : str, optional
        What to do about a missing file, if a command is known.
    """
    if not folder.is_dir():
        return (
            f"There is no model folder '{folder}'.",
            "Check the path, or name a hub repository: hf:OWNER/NAME.",
        )
    lack = lacking(folder, configuration=configuration, weights=weights, tokeniser=tokeniser)
    if lack is None:
        return None
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if lack == WEIGHTS_FILE and pickles:
        return (
            f"The weights in '{folder}' are pickled ({', '.join(pickles)}), and reading those can run code.",
            safetensors_hint(),
        )
    return (
        f"The model folder '{folder}' has no {lack}.",
        fetch or "Fetch it, or save the model again with save_pretrained.",
    )


def safetensors_hint() -> str:
    """Say how to get safetensors weights where only pickled ones are published."""
    return (
        "Set revision to the hub's conversion to safetensors (a pull request such as 'refs/pr/1'), "
        "or convert the weights on a machine you trust and give the folder."
    )


def _snapshot(
    repository: str, revision: str | None, patterns: tuple[str, ...], *, local: bool
) -> Path | None:
    try:
        folder = snapshot_download(
            repository, revision=revision, allow_patterns=list(patterns) or None, local_files_only=local
        )
    except HFValidationError as error:
        raise UsageError(
            f"'{repository}' is neither a folder nor the name of a hub repository.", "Write hf:OWNER/NAME."
        ) from error
    except OSError:  # not cached, no network, no such repository or revision, no permission
        return None
    return Path(folder)
