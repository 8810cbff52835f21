"""Images from files: the same batches whoever makes them, and errors that find their way back."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lnlbench.api.phase import Phase
from lnlbench.data.decode import decode
from lnlbench.data.image_files import ListedFiles
from lnlbench.data.known.clothing1m import Clothing1M
from lnlbench.errors import DataError, TrialError
from lnlbench.inputs.loader import Workers, default_workers
from lnlbench.inputs.network_inputs import PLAIN, FileInputs, ImageInputs, Wanted
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.spec import DatasetSpec, PhaseSpec

CPU = torch.device("cpu")
MODEL = Preprocessing(
    size=32, resize=36, mode="shortest", interpolation="bilinear", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    Clothing1M().make_standin(folder, per_class=2, seed=0)
    return folder


@pytest.fixture(scope="module")
def images(root):
    return Clothing1M().load(DatasetSpec("clothing1m"), root).train.images


@pytest.fixture(scope="module")
def two():
    """Two worker processes for all tests of this file."""
    return Workers(2)


def file_inputs(images, workers, rows=None):
    rows = torch.arange(len(images)) if rows is None else rows
    return FileInputs(images, MODEL, "photo", rows, CPU, workers=workers)


def epoch(images, workers, augmentation="weak", **views):
    """All tensors of two epochs' batches, in order."""
    phase = Phase(
        PhaseSpec("fft", 2, batch_size=5, augmentation=augmentation),
        0,
        inputs=file_inputs(images, workers),
        cached_plain=None,
        labels=torch.arange(len(images)) % 14,
        classes=14,
        device=CPU,
        seed=3,
    )
    tensors = []
    for number in range(2):
        phase.start_epoch(number)
        for batch in phase.batches(**views):
            torch.rand(3, generator=phase.generator)  # as mixup would, between batches
            tensors += [batch.index, batch.inputs, *batch.weak, *batch.strong]
    return tensors


@pytest.mark.parametrize(
    ("augmentation", "views"),
    [("none", {}), ("weak", {}), ("weak", {"weak": 2, "strong": 1}), ("none", {"plain": False, "strong": 2})],
)
def test_batches_are_the_same_bit_for_bit_with_any_number_of_workers(images, two, augmentation, views):
    alone = epoch(images, Workers(0), augmentation, **views)
    together = epoch(images, two, augmentation, **views)
    assert len(alone) == len(together)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def test_batches_do_not_depend_on_the_number_of_threads(images):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = epoch(images, Workers(0), strong=1)
        torch.set_num_threads(2)
        two = epoch(images, Workers(0), strong=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_views_differ_between_batches_epochs_and_copies(images):
    inputs = file_inputs(images, Workers(0))
    same = [torch.zeros(2, dtype=torch.int64)] * 2
    generator = torch.Generator().manual_seed(0)
    first, second = inputs.stream(same, Wanted(None, weak=2), generator)
    (third,) = inputs.stream(same[:1], Wanted(None, weak=1), generator)
    views = [*first, *second, *third]
    assert len({view[row].numpy().tobytes() for view in views for row in range(2)}) == 10


def test_un_augmented_inputs_are_those_of_images_in_memory(images, two):
    direct = ImageInputs(images, MODEL, "photo", torch.arange(len(images)), CPU)
    for workers in (Workers(0), two):
        inputs = file_inputs(images, workers)
        for index, batch in inputs.in_order(6):
            assert torch.equal(batch, direct.plain(index))
        assert torch.equal(inputs.plain(torch.tensor([7, 1])), direct.plain(torch.tensor([7, 1])))


def test_rows_choose_the_images(images):
    inputs = file_inputs(images, Workers(0), torch.tensor([5, 2]))
    assert torch.equal(inputs.plain(torch.tensor([1])), MODEL(images.take(np.array([2]))))
    assert len(inputs) == 2


def test_two_streams_may_be_open_and_one_may_be_left_early(images, two):
    inputs = file_inputs(images, two)
    pieces = [torch.tensor([number]) for number in range(12)]
    left = inputs.stream(pieces, PLAIN, None)
    other = inputs.stream(pieces[::-1], PLAIN, None)
    assert torch.equal(next(left)[0], inputs.plain(pieces[0]))
    assert torch.equal(next(other)[0], inputs.plain(pieces[11]))
    left.close()
    rest = [made for (made,) in other]
    assert len(rest) == 11
    assert torch.equal(rest[-1], inputs.plain(pieces[0]))


def write_images(folder, count, broken=None):
    names = [f"{number}.jpg" for number in range(count)]
    for number, name in enumerate(names):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(folder / name)
    if broken is not None:
        (folder / names[broken]).write_bytes(b"no image")
    return ListedFiles(folder, names)


def test_an_error_in_a_worker_comes_back_in_its_turn(tmp_path, two):
    inputs = file_inputs(write_images(tmp_path, 6, broken=4), two)
    batches = inputs.stream([torch.tensor([i]) for i in range(6)], PLAIN, None)
    for _ in range(4):
        next(batches)
    with pytest.raises(DataError, match=r"4\.jpg cannot be decoded") as caught:
        next(batches)
    assert caught.value.hint == "Replace or remove the file."


def own_process(_):
    return os.getpid()


def test_a_worker_that_is_killed_is_an_error_and_others_take_over(tmp_path):
    workers = Workers(1)
    (worker,) = workers.map(own_process, [0])
    assert worker != os.getpid()
    os.kill(worker, signal.SIGKILL)
    many = workers.map(own_process, range(1000))  # it takes a moment to notice
    with pytest.raises(TrialError, match="ended from outside"):
        list(many)
    assert set(workers.map(own_process, range(3))).isdisjoint({worker, os.getpid()})


def prepare():
    os.environ["PREPARED"] = "yes"


@pytest.fixture(scope="module")
def clean():
    return Workers(2, clean=True, prepare=prepare)


def test_clean_workers_make_the_same_batches(images, clean):
    alone = epoch(images, Workers(0), "weak", strong=1)
    assert all(map(torch.equal, alone, epoch(images, clean, "weak", strong=1)))


def parent_and_preparation(_):
    return os.getppid(), os.environ.get("PREPARED")


def test_clean_workers_are_not_forked_from_this_process(clean):
    found = set(clean.map(parent_and_preparation, range(20)))
    assert {prepared for _, prepared in found} == {"yes"}
    assert os.getpid() not in {parent for parent, _ in found}


def is_running(pid):
    """Whether a process is there, and not only waits for its parent to take note of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# A process with clean workers, which says who they are and is then killed.
PARENT = """
import os, time
from lnlbench.inputs.loader import Workers

def own_process(_):
    time.sleep(0.2)
    return os.getpid()

if __name__ == "__main__":
    print(*set(Workers(2, clean=True).map(own_process, range(8))), flush=True)
    time.sleep(600)
"""


def test_clean_workers_end_with_the_process_that_asked_for_them(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert workers
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_workers_are_for_gpus():
    assert default_workers("cpu", 8) == 0
    assert [default_workers("cuda", threads) for threads in (1, 8, 64)] == [1, 7, 16]


# reduced size


@pytest.mark.parametrize("size", [(400, 300), (300, 301), (64, 20), (1000, 64)])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_shorter_side_is_brought_down_and_never_up(tmp_path, size, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.new("RGB", size, (10, 20, 30)).save(path)
    height, width = decode(path, 64).shape[:2]
    assert min(height, width) == min(64, *size)
    assert width / height == pytest.approx(size[0] / size[1], rel=0.02)


def smooth(size=512):
    """Slow waves, which no resize should change much."""
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    waves = [128 + 100 * np.sin((a * x + b * y) / 80) for a, b in ((1, 0), (0, 1), (1, 1))]
    return np.stack(waves, axis=2).astype(np.uint8)


def test_decoding_at_a_reduced_size_changes_pixels_slightly(tmp_path):
    path = tmp_path / "waves.jpg"
    Image.fromarray(smooth()).save(path, quality=95)
    full = np.asarray(Image.open(path).convert("RGB").resize((120, 120), Image.Resampling.BILINEAR))
    reduced = decode(path, 120)
    assert reduced.shape == full.shape
    difference = np.abs(reduced.astype(int) - full)
    assert 0 < difference.max() <= 8
    assert difference.mean() < 1


def test_resized_images_are_decoded_so(root, images):
    resized = Clothing1M().load(DatasetSpec("clothing1m", resize=40), root).train.images
    for taken, number in zip(resized.take(np.array([3, 0])), (3, 0), strict=True):
        assert np.array_equal(taken.permute(1, 2, 0).numpy(), decode(images.path(number), 40))
        assert min(taken.shape[1:]) == 40


def test_images_in_memory_cannot_be_resized():
    from lnlbench.data.known.digits import Digits

    with pytest.raises(DataError, match="in memory"):
        Digits().load(DatasetSpec("digits", resize=32), None)


@pytest.mark.parametrize(("option", "value"), [("resize", 64), ("recipe", "crop-flip")])
def test_an_option_is_part_of_a_trial_only_where_it_is_given(option, value):
    from results_factory import make_spec

    from lnlbench.spec import TrialSpec

    spec = make_spec()
    assert option not in spec.canonical()["dataset"]
    other = dataclasses.replace(spec, dataset=DatasetSpec("digits", **{option: value}))
    assert other.trial_id != spec.trial_id
    assert TrialSpec.from_dict(other.to_dict()) == other
