"""Tensors on their way to a device: what stays there, and that a CPU copies nothing."""

from __future__ import annotations

import pytest
import torch

from lnlbench.conformance.device_trace import tracing
from lnlbench.models import transport
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.models.transport import fits, settle, to_device

CPU, META = torch.device("cpu"), torch.device("meta")


def test_on_the_cpu_a_tensor_is_itself() -> None:
    tensor = torch.rand(3)
    assert to_device(tensor, CPU) is tensor
    assert not fits(1, CPU)
    assert settle(3, lambda positions: tensor[positions], CPU) is None


def test_what_does_not_fit_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    assert fits(500, torch.device("cuda"))
    assert not fits(501, torch.device("cuda"))


def test_of_a_shared_gpu_what_a_process_may_take_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3000, 4000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 200)
    monkeypatch.setattr(transport, "memory_fraction", lambda: 0.25)
    assert fits(400, torch.device("cuda"))  # half of 0.25 · 4000 − 200
    assert not fits(401, torch.device("cuda"))
    monkeypatch.setattr(transport, "memory_fraction", lambda: 1.0)
    assert fits(1500, torch.device("cuda"))
    assert not fits(1501, torch.device("cuda"))


def test_what_settles_is_taken_in_pieces_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_PIECE", 4)
    asked: list[list[int]] = []

    def take(positions: torch.Tensor) -> torch.Tensor:
        asked.append(positions.tolist())
        return torch.zeros(len(positions), 2, dtype=torch.uint8)

    settled = settle(9, take, META)
    assert settled is not None
    assert (settled.shape, settled.dtype, settled.device) == ((9, 2), torch.uint8, META)
    assert asked == [[0], [0, 1, 2, 3], [4, 5, 6, 7], [8]]


def test_normalising_crosses_once_per_device_and_not_per_batch() -> None:
    preprocessing = Preprocessing(
        size=4,
        resize=4,
        mode="shortest",
        interpolation="bilinear",
        mean=(0.11, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
    )
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8, device=META)
    with tracing() as crossings:
        preprocessing(images)
        first = len(crossings.places)
        preprocessing(images)
    assert first == 2
    assert len(crossings.places) == first
