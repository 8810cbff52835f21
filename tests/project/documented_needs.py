"""What each page's commands need to be run in a fresh folder, and how they are cut to take seconds.

A new command that trains needs a line in ``cuts`` (appended to it: fewer samples, epochs, trials; nothing
that changes what it shows), or in ``not_run`` with the reason. All others run as they stand.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import tiny_models
from documented import ROOT, Needs, blocks, commands_of, read, trains
from mislabelled import mislabelled_folder
from PIL import Image

from lnlbench.cli import main

FEW = "--set train_per_class=10 --set test_per_class=4 --set image_size=32"
SHORT = "--set lp.epochs=1 --set fft.epochs=1 --set lp-fft.fft.epochs=1"
CUT = f"{FEW} {SHORT}"
EASY = "--where noise=symmetric-0.6"
PROBE = f"{CUT} {EASY} --where tuning=lp"
# On CIFAR's stand-ins, and for the paper's grids with small networks for weights.
FEW_CIFAR = "--set train_per_class=8 --set test_per_class=2 --set image_size=32"
CIFAR = f"{FEW_CIFAR} {SHORT} --where tuning=lp"
PAPER = f"--set train_per_class=4 --set test_per_class=1 {SHORT}"

# Files


def pets(folder: Path) -> None:
    """``pets.npz``: images, as ``npz:`` takes them."""
    np.savez(folder / "pets.npz", **_arrays((16, 16, 3)))


def embeddings(folder: Path) -> None:
    """``embeddings.npz``: features, as ``features:`` takes them."""
    arrays = _arrays((12,))
    features = {name: array / np.float32(255) for name, array in arrays.items() if name.startswith("x")}
    np.savez(folder / "embeddings.npz", **{**arrays, **features})


def clip(folder: Path) -> None:
    """``clip``: a small CLIP, as the hub has it."""
    tiny_models.save("clip", folder / "clip")


def vit_small(folder: Path) -> None:
    """``vit_small``: a small vision transformer, as the hub has it."""
    tiny_models.save("vit", folder / "vit_small")


def _arrays(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 20), ("test", 5)):
        labels = np.repeat(np.arange(2), count)
        noise = rng.integers(0, 100, (len(labels), *shape))
        arrays[f"x_{part}"] = (noise + labels.reshape(-1, *[1] * len(shape)) * 150).astype(np.uint8)
        arrays[f"y_{part}"] = labels
    return arrays


def flowers(folder: Path) -> None:
    """A folder ``flowers`` of images, as ``imagefolder:`` takes it."""
    arrays = _arrays((24, 20, 3))
    for part in ("train", "test"):
        for number, (image, label) in enumerate(zip(arrays[f"x_{part}"], arrays[f"y_{part}"], strict=True)):
            place = folder / "flowers" / part / ("rose", "tulip")[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{number}.png")


def photos(folder: Path) -> None:
    """``photos.csv`` with two wrong labels, of the images in ``flowers``."""
    lines = ["path,label,clean,split"]
    for path in sorted((folder / "flowers").rglob("*.png")):
        part, name = path.parts[-3], path.parts[-2]
        given = "tulip" if path.stem in ("1", "2") and part == "train" else name
        lines.append(f"{path.relative_to(folder)},{given},{name},{part}")
    (folder / "photos.csv").write_text("\n".join(lines), encoding="utf-8")


def pets_folder(folder: Path) -> None:
    """A folder ``pets`` of images, of which one in twenty lies in a wrong class."""
    mislabelled_folder(folder / "pets")


def cifar(folder: Path) -> None:
    """CIFAR in ``~/data``, as ``lnlbench data fetch`` would leave it, but stand-ins."""
    data = folder / "home" / "data"
    for name in ("cifar10", "cifar100"):
        _run(f"data make-standin {name} --data {data} --per-class 10")


def real_noise(folder: Path) -> None:
    """Clothing1M and WebVision in ``~/data``, as stand-ins."""
    for name in ("clothing1m", "webvision_mini"):
        _run(f"data make-standin {name} --data {folder / 'home' / 'data'} --per-class 4")


def mine(folder: Path) -> None:
    """``mine.py``, as the README has it."""
    (code,) = (code for code in blocks("README.md", "python") if "(Method)" in code)
    (folder / "mine.py").write_text(code, encoding="utf-8")


def smoothing(folder: Path) -> None:
    """``smoothing.py``, as the page on methods has it."""
    code = next(code for code in blocks("docs/methods-api.md", "python") if "LabelSmoothing" in code)
    (folder / "smoothing.py").write_text(code, encoding="utf-8")


def backbone_and_data(folder: Path) -> None:
    """``tiny_net.py``, ``stripes.py`` and ``top5.py``, as the page on plugins has them."""
    codes = blocks("docs/plugins.md", "python")
    for code, name in zip(codes, ("tiny_net.py", "stripes.py", "top5.py"), strict=True):
        (folder / name).write_text(code, encoding="utf-8")


def grid_file(folder: Path) -> None:
    """``mygrid.toml`` and the hyperparameter file that it names, as the page on grids has them."""
    grid, _rows, hyperparameters, *_ = blocks("docs/grids.md", "toml")
    (folder / "mygrid.toml").write_text(grid, encoding="utf-8")
    (folder / "ours.toml").write_text(hyperparameters, encoding="utf-8")


def results_of_the_quickstart(folder: Path) -> None:
    """What a reader of the other pages has."""
    _run(f"run --grid quickstart {CUT} {EASY} --where method=ce,turn --where tuning=lp,lp-fft")


def results_of_a_figure(folder: Path) -> None:
    """Records for the figure that is plotted."""
    _run(f"run --grid paper_fig3a {PAPER} --data {folder / 'home' / 'data'} --where method=ce,turn")


def published_and_mine(folder: Path) -> None:
    """What is published, and a run of the same grid."""
    shutil.copytree(ROOT / "results" / "cifar10_human", folder / "results" / "cifar10_human")
    _run(
        f"run --grid cifar10_human {CIFAR} --where method=ce --where noise=symmetric-0.41 --seeds 0 "
        f"--data {folder / 'home' / 'data'} --out runs/mine"
    )


def _run(arguments: str) -> None:
    assert main(arguments.split()) == 0, arguments


NO_CLUSTER = "needs several machines"
NO_NETWORK = "downloads"
PLACEHOLDER = "names no grid or data set"

GUIDES: dict[str, Needs] = {
    "docs/tuning-modes.md": Needs(
        before=(cifar, vit_small),
        cuts={
            "lnlbench run --grid vit_tuning --set backbone=hf:./vit_small --data ~/data --verdicts": (
                f"{FEW_CIFAR} --set lp.epochs=1 --set lora.epochs=1 "
                "--where tuning=lp-lora --where noise=symmetric-0.6 --where seed=0 --where lora.rank=1"
            ),
        },
    ),
    "docs/plugins.md": Needs(
        not_run={
            "lnlbench new backbone NAME": PLACEHOLDER,
            "lnlbench new dataset NAME": PLACEHOLDER,
        },
        before=(backbone_and_data,),
        cuts={
            "lnlbench run --grid quickstart --plugin ./tiny_net.py --plugin ./stripes.py --plugin ./top5.py "
            "--set backbone=tiny_net --set weights=none --set dataset=stripes --where tuning=lp "
            "--where method=ce": (
                f"--set train_per_class=10 --set test_per_class=4 --set lp.epochs=1 {EASY}"
            ),
        },
    ),
    "README.md": Needs(
        before=(pets, mine, cifar),
        cuts={
            "lnlbench run --grid quickstart": f"{CUT} {EASY} --where method=ce,dividemix,turn",
            "lnlbench run --grid quickstart --set noise=asymmetric-0.4,instance-0.4 --seeds 0-4 --out "
            "runs/more-noise": f"{CUT} --where method=ce --where tuning=lp --where seed=0,4",
            "lnlbench run --grid quickstart --set dataset=npz:pets.npz --where tuning=lp --out runs/pets": (
                f"{CUT} {EASY}"
            ),
            "lnlbench run --grid cifar10_cpu --data ~/data": (
                f"{CIFAR} --where noise=symmetric-0.6,instance-0.4 --where method=ce"
            ),
            "lnlbench run --grid paper_table4 --set dataset=digits --set backbone=efficientnet_lite0 "
            "--set image_size=48 --out runs/t4": f"{CUT} --where tuning=fft",
            "lnlbench run --grid quickstart --plugin ./mine.py:Mine --set method=ce,mine "
            "--set methods.mine.smoothing=0.2 --out runs/mine": PROBE,
        },
    ),
    "CONTRIBUTING.md": Needs(),
    "docs/cluster.md": Needs(
        cuts={
            "lnlbench run --grid quickstart --jobs 2": f"{PROBE} --where method=ce,gce",
            "lnlbench run --grid quickstart --where tuning=fft --where method=ce --processes-per-trial 2 "
            "--out runs/shared": f"{CUT} {EASY}",
        },
        not_run={
            "ray start --head --port 6379": NO_CLUSTER,
            "ray start --address FIRST:6379": NO_CLUSTER,
            "lnlbench run --grid quickstart --ray-address FIRST:6379 --jobs 8 --cpus-per-trial 4": NO_CLUSTER,
            "ray stop": NO_CLUSTER,
            "kubectl exec -it POD_OF_THE_HEAD -- lnlbench run --grid /grids/my_grid.toml --ray-address auto "
            "--jobs 8 --cpus-per-trial 4 --out /results/my_grid": NO_CLUSTER,
            "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=…": NO_CLUSTER,
        },
    ),
    "docs/data-and-backbones.md": Needs(
        before=(cifar, flowers, embeddings, photos, clip),
        cuts={
            "lnlbench run --grid quickstart --set tuning=lp --set method=zero_shot,clipcleaner,ce "
            "--set backbone=hf:./clip --set image_size=224 --out runs/clip": f"{CUT} {EASY}",
            "lnlbench run --grid quickstart --set tuning=vpt-fft --set method=deft --set "
            "methods.deft.images=tuned --set backbone=hf:./clip --set image_size=224 --set vpt.tokens=20 "
            "--set vpt.epochs=10 --set vpt.batch_size=64 --set vpt.optimizer=sgd --set vpt.lr=0.03 --set "
            "vpt.weight_decay=5e-4 --set vpt.schedule=cosine --out runs/deft": (
                f"{CUT} {EASY} --set vpt.epochs=1 --set vpt.lr=0.01"
            ),
            "lnlbench run --grid cifar10_cpu --data ~/data": (
                f"{CIFAR} --where noise=asymmetric-0.4 --where method=gce"
            ),
            "lnlbench run --grid cifar10_cpu --where tuning=lp --set noise=human-worse,human-aggre "
            "--seeds 0-2 --data ~/data": f"{CIFAR} --where method=dividemix --where seed=0",
            "lnlbench run --grid cifar10_cpu --data ~/data --set dataset_options.recipe=crop-flip "
            "--out runs/crop-flip": f"{CIFAR} {EASY} --where method=unicon",
            "lnlbench run --grid quickstart --data standins --set dataset=clothing1m --set noise=real "
            "--out runs/rehearsal": f"{PAPER} --set image_size=32 --where method=turn",
            "lnlbench run --grid quickstart --set dataset=imagefolder:./flowers --set image_size=128 "
            "--out runs/flowers": f"{PROBE} --where method=elr",
            "lnlbench run --grid quickstart --set dataset=csv:photos.csv --set noise=real "
            "--set image_size=64 --out runs/photos": f"{CUT} --where tuning=lp --where method=ce",
            "lnlbench run --grid quickstart --set dataset=features:embeddings.npz --set tuning=lp "
            "--set method=ce,gce,elr --out runs/text": "--set lp.epochs=1",
            "lnlbench run --grid quickstart --set noise=file:group-a.npz --out runs/shared-noise": (
                f"--set image_size=32 {SHORT} --where tuning=lp --where method=ce"
            ),
            "lnlbench run --grid quickstart --set backbone=preact_resnet18 --set weights=none "
            "--set image_size=32 --where tuning=fft --out runs/scratch": f"{CUT} {EASY} --where method=ce",
        },
        not_run={
            "lnlbench data fetch cifar10 --data ~/data": NO_NETWORK,
            "lnlbench data check NAME": PLACEHOLDER,
            "lnlbench data check csv:PATH": PLACEHOLDER,
        },
        exits={
            "lnlbench data fetch clothing1m": (2,),  # it cannot be downloaded, and says where it is to be had
            "lnlbench data fetch webvision": (2,),
        },
    ),
    "docs/noisy-data.md": Needs(
        before=(pets_folder, cifar),
        data=True,
        cuts={
            "lnlbench audit cifar10 --set train_per_class=100 --set noise=symmetric-0.2 "
            "--set image_size=64": FEW_CIFAR,
            "lnlbench run --grid quickstart --set dataset=csv:audits/pets/cleaned.csv --data pets "
            "--set noise=real --set image_size=64 --out runs/pets": (
                "--set lp.epochs=1 --set image_size=32 --where tuning=lp --where method=ce,gce"
            ),
            "lnlbench run --grid quickstart --set dataset=csv:audits/pets/cleaned.csv --data pets "
            "--set noise=real --set image_size=64 --where tuning=lp --where method=gce --seeds 0 "
            "--save-models --out runs/pets-model": "--set lp.epochs=1 --set image_size=32",
            "lnlbench run --grid quickstart --set dataset=imagefolder:pets --set noise=real "
            "--set image_size=64 --verdicts --out runs/all-pets": (
                "--set lp.epochs=1 --set image_size=32 --where tuning=lp --where method=ce,gce"
            ),
        },
    ),
    "docs/grids.md": Needs(
        before=(grid_file, cifar),
        data=True,
        cuts={
            "lnlbench run --grid quickstart --where tuning=lp --batched --out runs/batched": (
                f"{CUT} {EASY} --where method=ce,gce"
            ),
            "lnlbench run --grid quickstart --set dataset=cifar10 --set train_per_class=1000 "
            "--set image_size=96 --out runs/cifar": f"{CIFAR} {EASY} --where method=unicon",
            "lnlbench run --grid quickstart --set method=elr --set methods.elr.lam=7 "
            "--set lp.optimizer=adamw --out runs/elr": PROBE,
            "lnlbench run --grid quickstart --set lp.cache=false --where tuning=lp --out runs/live": (
                f"{CUT} {EASY} --where method=ce"
            ),
            "lnlbench run --grid cifar10_cpu --where method=ce,turn --where noise=symmetric": (
                f"{CIFAR} --where rate=0.8"
            ),
            "lnlbench run --grid cifar10_cpu --seeds 0-4 --where seed=1-2 --where rate=0.6": (
                f"{CIFAR} --where method=gce"
            ),
            "lnlbench run --grid paper_table4 --set dataset=digits --set backbone=efficientnet_lite0 "
            "--set image_size=48 --set lp.epochs=5 --set fft.epochs=1": f"{CUT} --where "
            "methods.turn.cleansing=none",
        },
        not_run={"lnlbench run --grid NAME --dry-run": PLACEHOLDER},
    ),
    "docs/measurement.md": Needs(),
    "docs/methods-api.md": Needs(
        before=(smoothing, results_of_the_quickstart),
        cuts={
            "lnlbench run --grid quickstart --plugin ./smoothing.py:LabelSmoothing --set "
            "method=ce,label_smoothing --out runs/smoothing": PROBE,
            "lnlbench run --grid quickstart --retry stale": f"{PROBE} --where method=ce",
        },
    ),
    "docs/performance.md": Needs(
        before=(cifar,),
        data=True,
        cuts={
            "lnlbench tune --grid cifar10_cpu --where noise=symmetric-0.6 --tuning lp --executor inline "
            f"--cpus-per-trial 1 --out runs/{out}": (
                f"{FEW_CIFAR} --set lp.epochs=1 --search random --samples 3"
            )
            for out in ("together", "separate --no-batched")
        }
        | {
            "lnlbench audit cifar10 --set train_per_class=1000 --set noise=human-aggre "
            "--set image_size=64": FEW_CIFAR,
        },
    ),
    "docs/python.md": Needs(
        cuts={
            "lnlbench run --grid quickstart --where tuning=lp --where method=ce --set lp.epochs=2 "
            "--listener tensorboard:logs --out runs/logged": f"{FEW} {EASY}",
        },
    ),
    "docs/results-and-records.md": Needs(
        before=(results_of_the_quickstart, cifar, results_of_a_figure, published_and_mine),
        weights=True,
        # On the few images of the cut, CE is another trial than the published one: their cell stays blank.
        exits={"lnlbench table --out results/cifar10_human --out runs/mine": (1,)},
        cuts={
            "lnlbench run --grid quickstart --where tuning=lp-fft --where method=turn --verdicts "
            "--out runs/verdicts": f"{CUT} {EASY}",
        },
    ),
    "docs/saved-models.md": Needs(
        before=(flowers,),
        cuts={
            "lnlbench run --grid quickstart --set dataset=imagefolder:./flowers --set image_size=128 "
            "--set noise=real --where tuning=lp --where method=elr --seeds 0 --save-models "
            "--out runs/flowers": CUT,
        },
    ),
    "docs/trust.md": Needs(),
    "docs/fidelity.md": Needs(),
    "docs/tuning.md": Needs(
        before=(cifar,),
        data=True,
        weights=True,
        cuts={
            "lnlbench tune --tuning lp --set backbone=timm:resnet50 --write mine.toml": (
                f"{PAPER} --set image_size=32 --search random --samples 2"
            ),
            "lnlbench tune --tuning fft --set backbone=timm:resnet50 --write mine.toml": (
                f"{PAPER} --set image_size=16 --search random --samples 1"
            ),
            "lnlbench run --grid quickstart --set hyperparameters=mine.toml": (
                f"{CUT} {EASY} --where method=ce --set backbone=timm:resnet50"
            ),
            "lnlbench tune --grid quickstart --where noise=symmetric-0.9 --tuning lp --jobs 2": (
                f"{FEW} --set lp.epochs=1 --search random --samples 2"
            ),
            "lnlbench tune --tuning lp --space lr=0.3,0.1,0.03 --space weight_decay=0 "
            "--space momentum=0.9,0.95": f"{PAPER} --search random --samples 2 --where backbone=vit_b16",
        },
    ),
}

# What is left of the trials of the paper's grids.
_TRIALS = {
    "paper_table1": "--set image_size=8 --where method=ce",
    "paper_table2": "--where backbone=vit_b16,clip_vit_b --where method=ce,turn --where noise=symmetric-0.6",
    "paper_table3": "--where dataset=clothing1m --where backbone=vit_b16 --where method=ce,turn",
    "paper_table4": "--where backbone=vit_b16",
    "paper_table5": "--where backbone=vit_l16 --where method=ce,turn",
    "paper_table9": "--where noise=symmetric-0.6 --where methods.turn.tau=0.5,0.7",
    "paper_fig2": "--where backbone=vit_b16 --where noise=symmetric-0.1 --set embedding.samples=80 "
    "--set embedding.perplexity=3",
    "paper_fig3a": "--where method=ce,turn",
    "paper_fig3b": "--set lp.epochs=5,10",
    "paper_fig3c": "--set fft.epochs=1,2",
    "paper_fig3d": "--where methods.turn.tau=0.5,0.7",
}


def _of_the_paper(page: str) -> Needs:
    """Return the needs of a grid's page: its runs are cut as the grid says."""
    cuts: dict[str, str] = {}
    exits: dict[str, tuple[int, ...]] = {}
    for command in commands_of(read(page)):
        if trains(command):
            grid = command.split()[command.split().index("--grid") + 1]
            cuts[command] = f"{PAPER} {_TRIALS[grid]}"
        elif command.startswith("lnlbench verify"):
            cuts[command] = OTHER_PROTOCOL
            exits[command] = PARTLY
    return Needs((cifar, real_noise), weights=True, cuts=cuts, exits=exits)


OTHER_PROTOCOL = "--allow-different-protocol"  # the budgets are not the paper's
PARTLY = (0, 1, 4)  # most numbers are missing, and who leads after one epoch says nothing

PAPER_PAGES: dict[str, Needs] = {
    page: _of_the_paper(page) for page in (f"docs/paper/{grid.removeprefix('paper_')}.md" for grid in _TRIALS)
}
_VERIFY = (
    "lnlbench verify --grid paper_table2",
    "lnlbench verify --grid paper_table2 --where backbone=vit_b16 --all",
    "lnlbench verify --grid paper_table2 --format json --output table2.json",
)
PAPER_PAGES["docs/paper/index.md"] = Needs(
    before=(cifar,),
    weights=True,
    cuts={
        "lnlbench run --grid paper_table2 --data ~/data --where backbone=vit_b16 --where noise=symmetric": (
            f"{PAPER} --where rate=0.6 --where method=ce --where tuning=lp"
        ),
        "lnlbench run --grid paper_table2 --set dataset=digits --set backbone=efficientnet_lite0 "
        "--set image_size=48 --set lp.epochs=5 --set fft.epochs=1 --set lp-fft.fft.epochs=1 "
        "--out runs/small": (f"{PROBE} --where method=ce,gce"),
        **dict.fromkeys(_VERIFY, OTHER_PROTOCOL),
    },
    exits=dict.fromkeys(
        (*_VERIFY, "lnlbench verify --grid paper_table2 --out runs/small --allow-different-protocol"), PARTLY
    ),
    not_run={"lnlbench run --grid NAME --dry-run": PLACEHOLDER},
)
