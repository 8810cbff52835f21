"""Data sets by a table: ``csv:PATH`` and ``parquet:PATH``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from lnlbench.data.image_files import VerifiedFiles, measure
from lnlbench.data.lists import stop
from lnlbench.data.manifests.manifest_rows import ManifestTable, Part, Report, build_table, read_csv
from lnlbench.data.manifests.parquet_rows import read_parquet, shards_of, walk
from lnlbench.data.manifests.stored_images import StoredImages
from lnlbench.data.source import Dataset, DatasetSource, Images, Split, assemble, local_path, spec_path
from lnlbench.errors import DataError
from lnlbench.spec import DatasetSpec

# From a part of a table to its images.
_Open = Callable[[Part], Images]


class _Manifest(DatasetSource):
    """A table with a row for each image."""

    takes_path: ClassVar[bool] = True
    scheme: ClassVar[str]

    def missing(self, path: str | None, root: Path | None) -> str | None:
        file = local_path(path, root, self.scheme)
        return None if file.exists() else f"{file} does not exist. {self.by_hand}"

    def load(self, spec: DatasetSpec, root: Path | None) -> Dataset:
        table, images = self.read(spec_path(spec, root), root, stop)
        splits = {
            name: Split(images=images(part), features=None, labels=part.labels, clean=part.clean)
            for name, part in table.parts.items()
        }
        return assemble(
            spec,
            family="custom",
            classes=table.classes,
            train=splits["train"],
            test=splits["test"],
            validation=splits.get("validation"),
        )

    def inspect(self, path: str | None, root: Path | None) -> list[str]:
        found: list[str] = []

        def note(problem: DataError) -> None:
            found.append(problem.message.rstrip("."))

        table, _ = self.read(local_path(path, root, self.scheme), root, note)
        for part in table.parts.values():
            names = [name for name in part.names if name]
            found += measure(table.base, names)[1] if names else []
        return found

    @abstractmethod
    def read(self, path: Path, root: Path | None, report: Report) -> tuple[ManifestTable, _Open]:
        """Read the rows; ``report`` takes a DataError for each mistake, and raises it or returns."""


class CsvManifest(_Manifest):
    """A csv file of images and labels: ``csv:PATH``.

    Its columns are ``path``, ``label`` and perhaps ``clean`` (the true label, where somebody knows it) and
    ``split`` (``train``, ``validation`` or ``test``). Paths are below the manifest's folder, or below
    the data folder.
    """

    summary = "images by a csv file: path,label and perhaps clean,split"
    scheme = "csv"
    by_hand = "Its first line is path,label or path,label,clean,split; paths are below its folder, or --data."

    def read(self, path: Path, root: Path | None, report: Report) -> tuple[ManifestTable, _Open]:
        bases = [path.parent, *([root] if root is not None else [])]
        table = build_table(read_csv(path, report), path, bases, report)
        return table, lambda part: files_of(table, part)


class ParquetManifest(_Manifest):
    """Images and labels in parquet files: ``parquet:PATH``, a file or a folder of a data set of the hub.

    Columns are those of a csv manifest, or ``image`` in the place of ``path``: structs with bytes, as the
    Hugging Face hub stores images. In a folder the names of the files say the splits.
    """

    summary = (
        "images in parquet files (image or path, label, perhaps clean, split), as on the Hugging Face hub"
    )
    scheme = "parquet"
    by_hand = "Name a .parquet file, or a folder with train-*.parquet and test-*.parquet."

    def read(self, path: Path, root: Path | None, report: Report) -> tuple[ManifestTable, _Open]:
        files = shards_of(path)
        shards = [read_parquet(file, split) for file, split in files]
        if len({bool(shard.contents) for shard in shards}) > 1:
            raise DataError(f"{path} has images in some files and paths in others.", "Use one kind.")
        bases = [files[0][0].parent, *([root] if root is not None else [])]
        table = build_table(
            walk(shards), path, bases, report, names=shards[0].names, stored=bool(shards[0].contents)
        )
        if not shards[0].contents:
            return table, lambda part: files_of(table, part)
        contents = [content for shard in shards for content in shard.contents]
        places = [
            Path(f"{file}, row {number}")
            for (file, _), shard in zip(files, shards, strict=True)
            for number in range(len(shard.rows))
        ]
        return table, lambda part: StoredImages(
            [contents[number] for number in part.numbers], [places[number] for number in part.numbers]
        )


def files_of(table: ManifestTable, part: Part) -> VerifiedFiles:
    """Return the files of a split, each of which is there.

    Raises
    ------
    DataError
        If some are not, or lead elsewhere.
    """
    _, problems = measure(table.base, part.names)
    if problems:
        more = f" (and {len(problems) - 1:,} more images)" if len(problems) > 1 else ""
        raise DataError(f"{problems[0]}{more}.", "See all of them with `lnlbench data check`.")
    return VerifiedFiles(table.base, part.names)
