"""Archives and images that unpack beyond reason, links, pipes and devices."""

from __future__ import annotations

import os
import re
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lnlbench.basics.printable import printable
from lnlbench.cli import main
from lnlbench.data.arrays import NpzFile
from lnlbench.data.imagefolder import ImageFolder
from lnlbench.errors import DataError, ExitCode, LnlbenchError
from lnlbench.noise.noise_file import read_noise_file
from lnlbench.spec import DatasetSpec


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LNLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)
    return tmp_path


def test_archives_that_unpack_beyond_reason() -> None:
    np.savez_compressed(
        "bomb.npz",
        x_train=np.zeros((200_000, 32, 32), np.uint8),
        y_train=np.zeros(200_000, np.int64),
        x_test=np.zeros((1, 32, 32), np.uint8),
        y_test=np.zeros(1, np.int64),
    )
    assert Path("bomb.npz").stat().st_size < 10**6
    with pytest.raises(DataError, match="would unpack to 204,800,128 bytes"):
        NpzFile().load(DatasetSpec("npz:bomb.npz"), None)


def npy_header(shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    "header",
    [
        npy_header((2**40,)),
        npy_header((2**62, 2**62)),
        npy_header((-1,)),
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000,
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"-" * 8999 + b"1",
        b"\x93NUMPY\x03\x00" + struct.pack("<I", 2**32 - 1),
        b"\x93NUMPY\x09\x09",
        b"",
    ],
)
def test_headers_that_lie(header: bytes) -> None:
    with zipfile.ZipFile("lie.npz", "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", header + b"\0" * 100)
    with pytest.raises(DataError):
        NpzFile().load(DatasetSpec("npz:lie.npz"), None)


def test_archive_directories_that_lie() -> None:
    """The size that an archive states is not what decides how much is read."""
    header = npy_header((2**36,))
    with zipfile.ZipFile("lie.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", header + b"\0" * 100)
    content = bytearray(Path("lie.npz").read_bytes())
    for match in [*re.finditer(b"PK\x01\x02", content)]:
        struct.pack_into("<II", content, match.start() + 20, 2**31, 2**32 - 2)
    Path("lie.npz").write_bytes(content)
    with pytest.raises(DataError):
        NpzFile().load(DatasetSpec("npz:lie.npz"), None)


def test_members_that_are_no_arrays() -> None:
    with zipfile.ZipFile("odd.npz", "w", zipfile.ZIP_LZMA) as archive:
        for name in ("x_train", "y_train.npy", "x_test.npy", "y_test.npy"):
            archive.writestr(name, b"x" * 1000)
    with pytest.raises(DataError, match="has no array x_train"):
        NpzFile().load(DatasetSpec("npz:odd.npz"), None)


def image_folder(root: Path) -> Path:
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(root / part / name / "0.png")
    return root


def read_all(root: Path) -> None:
    images = ImageFolder().load(DatasetSpec(f"imagefolder:{root}"), None).train.images
    assert images is not None
    images.take(np.arange(len(images)))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0" * (3 * 8 + 1) * 8))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [
        png(60_000, 60_000),
        png(2**31 - 1, 2**31 - 1),
        png(0, 0),
        png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 10**8))),
        png(8, 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(b"\0" * 10**8))),
        b"\x89PNG\r\n\x1a\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n(pwned) (w) file\n",  # would run Ghostscript
    ],
)
def test_image_bombs(folder: Path, content: bytes) -> None:
    root = image_folder(folder / "images")
    (root / "train" / "cat" / "1.png").write_bytes(content)
    with pytest.raises(DataError, match=r"cat/1\.png"):
        read_all(root)


@pytest.mark.parametrize("place", ["train", "train/cat", "train/cat/1.png", "test/dog/1.png"])
def test_links_out_of_an_image_folder(folder: Path, place: str) -> None:
    root = image_folder(folder / "images")
    outside = folder / "secret"
    outside.mkdir()
    Image.new("RGB", (8, 8)).save(outside / "1.png")
    target = root / place
    if target.is_dir():
        target.rename(folder / "moved")
        target.symlink_to(folder / "moved")
    else:
        target.symlink_to(outside / "1.png")
    with pytest.raises(DataError, match=r"is a link to .*, outside of"):
        ImageFolder().load(DatasetSpec(f"imagefolder:{root}"), None)


def test_links_in_a_circle_and_to_nowhere(folder: Path) -> None:
    for target in ("1.png", "absent.png"):
        root = image_folder(folder / target)
        (root / "train" / "cat" / "1.png").symlink_to(target)
        with pytest.raises(DataError, match=r"leads nowhere|neither a file nor a folder"):
            ImageFolder().load(DatasetSpec(f"imagefolder:{root}"), None)


def test_links_inside_an_image_folder_are_fine(folder: Path) -> None:
    root = image_folder(folder / "images")
    (root / "train" / "cat" / "1.png").symlink_to("0.png")
    assert len(ImageFolder().load(DatasetSpec(f"imagefolder:{root}"), None).train) == 3


def test_pipes_and_devices_are_not_waited_for(folder: Path) -> None:
    root = image_folder(folder / "images")
    os.mkfifo(root / "train" / "cat" / "1.png")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        ImageFolder().load(DatasetSpec(f"imagefolder:{root}"), None)
    os.mkfifo("pipe.npz")
    for name in ("pipe.npz", "/dev/zero"):
        with pytest.raises(LnlbenchError, match="is not a file"):
            read_noise_file(Path(name))
        assert NpzFile().missing(name, None) is not None


@pytest.mark.parametrize("name", [b"\xff\xfe.png", b"a\x1b[31m.png", b"a\nb.png"])
def test_file_names_that_are_no_text(folder: Path, name: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    root = image_folder(folder / "images")
    Image.new("RGB", (8, 8)).save(root / "train" / "cat" / "x.png")
    os.rename(root / "train" / "cat" / "x.png", os.fsencode(root / "train" / "cat") + b"/" + name)  # noqa: PTH104
    assert main(["data", "check", f"imagefolder:{root}"]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert printable(said) == said
