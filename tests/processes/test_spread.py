"""Passes that processes share against one process, in double precision: values, gradients, counts."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from torch import nn
from torch.nn import functional

from lnlbench.errors import TrialError
from lnlbench.models.execution import Execution
from lnlbench.models.ledger import Ledger
from lnlbench.models.network import Network
from lnlbench.processes.spread import Spread, add_up_gradients, check_alike, level
from lnlbench.processes.team import ALONE, Team

SIZE = 3
ROWS = (7, 2)  # shares of 2, 2 and 3 rows, and of 0, 1 and 1
CPU = torch.device("cpu")


def network(normalised: bool, team: Team = ALONE, *, dropout: float = 0.0) -> tuple[Network, Ledger]:
    """Return a network in double precision; the same in all processes."""
    torch.manual_seed(3)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4) if normalised else nn.Identity(), nn.Tanh()]
    layers += [nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5, momentum=None) if normalised else nn.Identity()]
    layers += [nn.Dropout(dropout), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    backbone = nn.Sequential(*layers).double()
    ledger = Ledger()
    spread = None if team.alone else Spread(team)
    made = Network(
        nn.Linear(5, 3).double(),
        lambda: backbone,
        ledger=ledger,
        device=CPU,
        execution=Execution(),
        spread=spread,
    )
    made.freeze(False)
    return made.train(), ledger


def steps(made: Network, team: Team) -> list[torch.Tensor]:
    """Train for two steps on batches whose loss ties their rows together, and return all there is."""
    generator = torch.Generator().manual_seed(5)
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1, momentum=0.9)
    seen = []
    for rows in ROWS:
        images = torch.randn(rows, 3, 7, 7, generator=generator, dtype=torch.float64)
        logits = made(images)
        prior = logits.softmax(1).mean(0)
        loss = functional.cross_entropy(logits, torch.arange(rows) % 3) + 2.0 * prior.square().sum()
        optimizer.zero_grad()
        loss.backward()
        if not team.alone:
            add_up_gradients(team, [optimizer], [made.build()])
        gradients = [weight.grad.clone() for weight in made.parameters()]
        optimizer.step()
        seen += [logits.detach(), loss.detach(), *gradients]
    with torch.no_grad():
        seen.append(made.eval()(images))
    return [*seen, *(values.detach() for values in (*made.parameters(), *made.buffers()))]


def facts_of(rank: int, file: str) -> dict[str, Any]:
    """Run in one of the processes; what it saw."""
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(file, SIZE)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=SIZE)
    team = Team(rank, SIZE)
    found: dict[str, Any] = {}
    for normalised in (False, True):
        made, ledger = network(normalised, team)
        found[f"steps {normalised}"] = steps(made, team)
        found[f"ledger {normalised}"] = ledger.to_dict()
    found["copy"] = steps(copy.deepcopy(network(True, team)[0]), team)
    found["flags"] = team.as_first(torch.tensor([rank == 0, False]))
    found["told"], found["heard"] = team.told(f"by {rank}"), team.heard(rank)
    apart = nn.Linear(2, 2)
    nn.init.constant_(apart.weight, rank)
    level(team, [apart])
    found["level"] = apart.weight.detach()
    dropped, _ = network(False, team, dropout=0.5)
    torch.manual_seed(9)
    images = torch.ones(SIZE, 3, 7, 7, dtype=torch.float64)
    found["dropped"] = [dropped.features(images).detach() for _ in range(2)]
    found["after"] = torch.rand(1)
    try:
        check_alike(team, {"this": 1, "that": rank == 2})
    except TrialError as error:
        found["apart"] = error.message
    check_alike(team, {"this": 1})
    torch.distributed.destroy_process_group()
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("meeting")
    started = [subprocess.Popen([sys.executable, __file__, str(rank), folder]) for rank in range(SIZE)]
    assert [process.wait(timeout=120) for process in started] == [0] * SIZE
    return [torch.load(folder / f"{rank}.pt") for rank in range(SIZE)]


@pytest.mark.parametrize("normalised", [False, True])
def test_steps_are_those_of_one_process(found: list[dict[str, Any]], normalised: bool) -> None:
    made, ledger = network(normalised)
    expected = steps(made, ALONE)
    for each in found:
        got = each[f"steps {normalised}"]
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
        assert each[f"ledger {normalised}"] == ledger.to_dict()
    for each in found[1:]:  # the same bits in all of them
        assert all(map(torch.equal, each[f"steps {normalised}"][-8:], found[0][f"steps {normalised}"][-8:]))


def test_a_copy_is_shared_as_well(found: list[dict[str, Any]]) -> None:
    for one, other in zip(found[0]["copy"], found[0]["steps True"], strict=True):
        assert torch.equal(one, other)


def test_processes_tell_each_other(found: list[dict[str, Any]]) -> None:
    for each in found:
        assert each["flags"].tolist() == [True, False]
        assert (each["told"], each["heard"]) == ("by 0", [0, 1, 2])
        assert torch.equal(each["level"], torch.zeros(2, 2))
        assert "differ in that." in each["apart"]


def test_dropout_is_drawn_for_each_row_and_generators_stay_alike(found: list[dict[str, Any]]) -> None:
    for each in found[1:]:
        assert all(map(torch.equal, each["dropped"], found[0]["dropped"]))
        assert torch.equal(each["after"], found[0]["after"])
    first, second = found[0]["dropped"]
    assert not torch.equal(first, second)
    # The rows are the same image, each passed by another process.
    assert not any(torch.equal(first[row], first[0]) for row in (1, 2))


def test_shares_are_contiguous_and_alike() -> None:
    for size in (1, 2, 3, 8):
        for rows in (0, 1, 7, 64):
            parts = [Team(rank, size).share(rows) for rank in range(size)]
            assert [row for part in parts for row in range(rows)[part]] == list(range(rows))
            lengths = [part.stop - part.start for part in parts]
            assert max(lengths) - min(lengths) <= 1


if __name__ == "__main__":
    number, place = int(sys.argv[1]), Path(sys.argv[2])
    torch.save(facts_of(number, str(place / "store")), place / f"{number}.pt")
