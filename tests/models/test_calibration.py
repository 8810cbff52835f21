"""Choosing precision and layout: what is tried, what is kept, and what happens without memory."""

from functools import partial

import pytest
import torch
from torch import nn

from lnlbench.basics.files import read_checked, write_checked
from lnlbench.errors import UsageError, WeightsError
from lnlbench.models import calibration, execution
from lnlbench.models.backbone import Backbone
from lnlbench.models.calibration import calibrate, training_speed
from lnlbench.models.execution import Execution
from lnlbench.models.preprocessing import Preprocessing

CPU = torch.device("cpu")


class Small(nn.Sequential):
    """Remembers the batches that it saw, and refuses those that are too large."""

    def __init__(self, room: int = 1000) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.room = room
        self.seen: list[int] = []

    def __deepcopy__(self, memo):
        copied = Small(self.room)
        copied.load_state_dict(self.state_dict())
        copied.seen = self.seen
        return copied

    def forward(self, images):
        if len(images) > self.room:
            raise torch.cuda.OutOfMemoryError("out of memory")
        self.seen.append(len(images))
        return super().forward(images)


def backbone(module: nn.Module) -> Backbone:
    preprocessing = Preprocessing(8, 8, "exact", "bilinear", (0.5,) * 3, (0.5,) * 3)
    return Backbone("small", module, 4, preprocessing, "")


def choose(module: nn.Module, folder, precision: str = "fp32") -> Execution:
    return calibrate(backbone(module), precision, device=CPU, threads=1, folder=folder)


def test_the_choice_is_one_of_the_candidates_and_leaves_no_trace(tmp_path):
    module = Small()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    assert choose(module, tmp_path) in (Execution("fp32", False), Execution("fp32", True))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert max(module.seen) == 64


def test_a_choice_is_made_once(tmp_path):
    module = Small()
    first = choose(module, tmp_path)
    steps = len(module.seen)
    assert choose(module, tmp_path) == first
    assert len(module.seen) == steps
    assert choose(module, tmp_path, "bf16").precision == "bf16"
    assert len(module.seen) > steps


def test_another_choice_on_disk_is_followed_and_a_damaged_one_made_anew(tmp_path):
    choose(Small(), tmp_path)
    (file,) = tmp_path.glob("*.json")
    report = read_checked(file)
    assert set(report["images_per_second"]) == {"fp32 channels_last=False", "fp32 channels_last=True"}
    report["chosen"] = {"precision": "bf16", "channels_last": True}
    write_checked(file, report)
    assert choose(Small(), tmp_path) == Execution("bf16", True)
    file.write_text("{")
    assert choose(Small(), tmp_path).precision == "fp32"


@pytest.mark.parametrize("bfloat16", [True, False])
def test_bfloat16_is_tried_where_it_is_computed(tmp_path, monkeypatch, bfloat16):
    monkeypatch.setattr(execution, "has_bfloat16", lambda device: bfloat16)
    choose(Small(), tmp_path, "auto")
    (file,) = tmp_path.glob("*.json")
    tried = {name.split()[0] for name in read_checked(file)["images_per_second"]}
    assert tried == ({"fp32", "bf16"} if bfloat16 else {"fp32"})


def test_the_fastest_wins_only_by_a_margin(tmp_path, monkeypatch):
    for speed, expected in ((1.05, False), (1.5, True)):
        speeds = {Execution("fp32", False): 100.0, Execution("fp32", True): 100.0 * speed}
        monkeypatch.setattr(calibration, "_measure", lambda *_, speeds=speeds: speeds)
        assert choose(Small(), tmp_path / str(speed)).channels_last is expected


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        # fp32, the same with channels last, bf16, the same with channels last
        ((100, 109, 109, 109), Execution()),
        ((100, 120, 125, 131), Execution("fp32", channels_last=True)),
        ((100, 101, 300, 303), Execution("bf16")),  # not the layout that wins by a hair
        ((100, 101, 300, 340), Execution("bf16", channels_last=True)),
        ((100, 109, 118, 125), Execution("bf16")),
    ],
)
def test_a_rival_needs_the_margin_over_what_is_simpler(tmp_path, monkeypatch, speeds, expected):
    candidates = [Execution(name, layout) for name in ("fp32", "bf16") for layout in (False, True)]
    monkeypatch.setattr(
        calibration, "_measure", lambda *_: dict(zip(candidates, map(float, speeds), strict=True))
    )
    assert choose(Small(), tmp_path, "auto") == expected


def test_a_precision_that_the_device_lacks_is_refused(tmp_path):
    with pytest.raises(UsageError, match="Set precision to auto or fp32"):
        choose(Small(), tmp_path, "tf32")
    assert not list(tmp_path.iterdir())


def test_threads_are_no_part_of_a_choice_for_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "_processor", lambda device: device.type)
    monkeypatch.setattr(calibration, "_measure", lambda *_: {Execution(): 50.0})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for device, files in (("cuda", 1), ("cpu", 3)):
        for threads in (1, 8):
            calibrate(
                backbone(Small()), "fp32", device=torch.device(device), threads=threads, folder=tmp_path
            )
        assert len(list(tmp_path.glob("*.json"))) == files
    speed = partial(training_speed, "small", None, "fp32", folder=tmp_path)
    assert speed(device=torch.device("cuda"), threads=4) == 50.0


def test_fewer_images_where_memory_is_short(tmp_path):
    module = Small(room=20)
    choose(module, tmp_path)
    assert max(module.seen) == 16


def test_fewer_images_where_a_step_takes_long(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "_SECONDS", 0.0)
    module = Small()
    choose(module, tmp_path)
    assert set(module.seen) == {4}


def test_no_memory_at_all(tmp_path):
    with pytest.raises(WeightsError, match="gradient_checkpointing"):
        choose(Small(room=3), tmp_path)
    assert not list(tmp_path.glob("*.json"))
