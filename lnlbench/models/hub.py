"""Files of Hugging Face hub repositories: on this machine, or downloaded.

Only JSON and safetensors files are ever fetched. Pickled weights can run code when they
are read, so they are not downloaded and not opened.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from lnlbench.errors import UsageError, WeightsError
from lnlbench.paths import expand
from lnlbench.printable import shorten

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
# Named one by one: repositories also hold tokenisers and weights of other libraries.
FILES = ("config.json", "preprocessor_config.json", "processor_config.json")
WEIGHT_FILES = (WEIGHTS_FILE, INDEX_FILE, "model-*.safetensors")
PICKLES = ("*.bin", "*.pth", "*.pt", "*.ckpt", "*.pkl")


def looks_local(reference: str) -> bool:
    """Whether a reference is a path rather than the name of a hub repository."""
    return reference.startswith((".", "/", "~")) or Path(reference).exists()


def lacking(folder: Path, *, configuration: bool, weights: bool) -> str | None:
    """Name the file that a model's folder lacks, or None if it is complete.

    Parameters
    ----------
    folder : Path
    configuration : bool
        Whether ``config.json`` is needed.
    weights : bool
        Whether weights are needed; if they are sharded, all shards.
    """
    if configuration and not (folder / "config.json").is_file():
        return "config.json"
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


def cached(repository: str, revision: str | None) -> Path | None:
    """Return the folder of a repository's files in the hub's cache, or None."""
    return _snapshot(repository, revision, (), local=True)


def describe_missing(repository: str, revision: str | None, name: str) -> tuple[str, str]:
    """Return what is missing from a hub repository on this machine, and the command that fetches it."""
    flag = f" --revision {revision}" if revision else ""
    # Not the whole repository: many hold the same weights in several formats.
    command = f"hf download {repository}{flag} --include '*.json' --include 'model*.safetensors'"
    at = f" at revision '{revision}'" if revision else ""
    return (
        f"{name} of the hub repository '{repository}'{at} is not on this machine.",
        f"Fetch it with: {command}",
    )


def model_folder(reference: str, revision: str | None, *, configuration: bool, weights: bool) -> Path:
    """Return a complete folder of a local path or hub repository, downloading what is missing.

    A copy in the hub's cache is used as it is, without asking the hub for a newer one: all
    trials of a run see the same weights. Pin ``revision`` to say which.

    Raises
    ------
    WeightsError
        If files are missing and cannot be downloaded, or weights exist only as pickles.
    """
    wanted = {"configuration": configuration, "weights": weights}
    if looks_local(reference):
        folder = expand(reference)
        problem = local_problem(folder, **wanted)
        if problem:
            raise WeightsError(*problem)
        return folder
    found = cached(reference, revision)
    if found is not None and lacking(found, **wanted) is None:
        return found
    patterns = FILES + (WEIGHT_FILES if weights else ())
    found = _snapshot(reference, revision, patterns, local=False)
    lack = lacking(found, **wanted) if found is not None else "config.json" if configuration else WEIGHTS_FILE
    if found is None:
        raise WeightsError(*describe_missing(reference, revision, str(lack)))
    if lack is not None:
        raise WeightsError(
            f"The hub repository '{reference}' has no {lack} that could be downloaded.",
            safetensors_hint() if lack == WEIGHTS_FILE else None,
        )
    return found


def local_problem(folder: Path, *, configuration: bool, weights: bool) -> tuple[str, str] | None:
    """Say what is wrong with a local model folder and what to do, or None if it is complete."""
    if not folder.is_dir():
        return (
            f"There is no model folder '{folder}'.",
            "Check the path, or name a hub repository: hf:OWNER/NAME.",
        )
    lack = lacking(folder, configuration=configuration, weights=weights)
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
        "Fetch it, or save the model again with save_pretrained.",
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
