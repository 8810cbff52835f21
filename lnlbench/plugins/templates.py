"""What `lnlbench new` writes: a distribution with one plugin, ready to be changed and published."""

from __future__ import annotations

from typing import NamedTuple

from lnlbench._version import __version__

METHOD = '''\
"""{title}: a method for lnlbench."""

from __future__ import annotations

import torch

from lnlbench.api import Batch, Method, UsageError, dataclass, functional


class {class_name}(Method):
    """Cross-entropy with smoothed labels: replace it by your own method."""

    name = "{name}"  # when the file is given by its path
    title = "{title}"  # in tables

    @dataclass(frozen=True)
    class Params:
        """Share of each label that is spread over all classes."""

        smoothing: float = 0.1

        def __post_init__(self) -> None:
            if not 0.0 <= self.smoothing <= 1.0:
                raise UsageError(f"smoothing is {{self.smoothing:g}}; it must lie in [0, 1].")

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch."""
        logits = self.network(batch.inputs)
        return functional.cross_entropy(logits, batch.labels, label_smoothing=self.params.smoothing)

    # A loss is enough. What else a method may say; all names are in lnlbench.api:
    #
    # paper = "Names: Title, venue, year"  # lnlbench list methods shows these three
    # licence = "MIT"
    # homepage = "https://example.org"
    # views = Views(weak=2, strong=1)  # batch.weak and batch.strong: augmented views of every sample
    # dataset_defaults = {{"cifar100": {{"smoothing": 0.2}}}}
    # presets = {{"asymmetric": Preset({{"smoothing": 0.0}}, source="paper, table 1", noise_aware=True)}}
    # predicting_networks = 2  # how many backbones predict() passes an input through
    # unsaved = ("cache",)  # attributes that checkpoints leave out
    # distributed = True  # several processes may share a trial, see docs/methods-api.md
    #
    # @classmethod
    # def supports(cls, spec: TrialSpec) -> Skip | None:
    #     return None if has_images(spec) else Skip("needs images")
    #
    # @classmethod
    # def reads_texts(cls, spec: TrialSpec) -> bool:
    #     return False  # True for methods that call task.texts()
    #
    # @classmethod
    # def expected_passes(cls, spec: TrialSpec, share: float) -> tuple[Passes, ...]:
    #     return tuple(Passes(trained=phase.epochs) for phase in spec.phases)
    #
    # def setup(self, task: Task) -> None:
    #     self.network = task.network()
    #
    # def begin_phase(self, phase: Phase) -> None:
    #     self.optimizer = phase.optimizer(self.network)
    #
    # def epoch(self, phase: Phase) -> None:
    #     losses = phase.losses(self.network)  # of all samples
    #     phase.publish(Selection(losses < losses.median(), -losses))
    #     for batch in phase.batches():
    #         phase.step(self.optimizer, self.loss(batch))
    #
    # def predict(self, inputs: torch.Tensor) -> torch.Tensor:
    #     return self.network(inputs)
    #
    # @staticmethod
    # def head_losses(heads: Heads, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    #     smoothing = heads.param("smoothing")  # loss() for K trials at once: probing is trained together
    #     log_p = heads.log_probabilities(logits, batch.labels)
    #     spread = functional.log_softmax(logits, dim=2).mean(2)
    #     return -((1.0 - smoothing) * log_p + smoothing * spread).mean(1)
    #
    # def state_dict(self): every attribute is saved as it is; see docs/methods-api.md
'''

BACKBONE = '''\
"""{title}: a backbone for lnlbench."""

from __future__ import annotations

from torch import nn

from lnlbench.models.backbone import Backbone, BackboneSource, finish, initialisation
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.spec import BackboneSpec


class {class_name}(BackboneSource):
    """A small convolutional network, from scratch: replace it by your own."""

    name = "{name}"  # when the file is given by its path
    title = "{title}"  # in tables
    pretrained = False  # leave out where there are weights
    # What else a backbone may say:
    #
    # option_defaults = {{"width": 16}}  # its backbone_options; self.options(spec) returns them
    # takes_reference = True  # {name}:MODEL
    # paper = "Names: Title, venue, year"
    # licence = "MIT"
    # homepage = "https://example.org"
    # forward_gmacs = 0.1  # of one image, for the estimates of --dry-run

    def missing(self, reference: str | None, spec: BackboneSpec) -> str | None:
        """Return what is not on this machine and how to get it, or None."""
        self.options(spec)  # refuses what this backbone does not have
        return None

    def load(self, spec: BackboneSpec, seed: int) -> Backbone:
        """Return a network that maps normalised images [B, 3, S, S] to features [B, d]."""
        self.options(spec)
        with initialisation(seed):
            module = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        # With weights: read them here, unless spec.weights == "none".
        pixels = Preprocessing(32, 32, "shortest", "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        return finish(spec, "{name}", module, pixels.with_size(spec.image_size))
'''

DATASET = '''\
"""{title}: a data set for lnlbench."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lnlbench.data.arrays import ArrayImages
from lnlbench.data.source import Dataset, DatasetSource, Split, assemble
from lnlbench.spec import DatasetSpec


class {class_name}(DatasetSource):
    """Stripes across and along, in noise: replace them by your own images."""

    name = "{name}"  # when the file is given by its path
    title = "{title}"  # in tables
    summary = "Stripes across and along"
    # What else a data set may say:
    #
    # recipe = "photo"  # how views are made: photo, cifar, digits, crop-flip
    # takes_path = True  # {name}:PATH
    # has_images = False  # features
    # official = {{"train": 300, "test": 100}}  # its sizes where it is complete
    # by_hand = "Get it from https://example.org and put it into the data folder."
    # paper = "Names: Title, venue, year"
    # licence = "CC BY 4.0"
    # homepage = "https://example.org"

    def missing(self, path: str | None, root: Path | None) -> str | None:
        """Return what is missing in the data folder and how to get it, or None."""
        return None

    def load(self, spec: DatasetSpec, root: Path | None) -> Dataset:
        """Return images [N, H, W, 3] of type uint8 and labels [N]."""
        labels = np.arange(400) % 2
        pixels = np.random.default_rng(0).integers(0, 200, (400, 16, 16), dtype=np.uint8)
        pixels[labels == 0, ::2] += 55
        pixels[labels == 1, :, ::2] += 55
        everything = Split(images=ArrayImages(pixels), features=None, labels=labels)
        parts = {{"train": everything.select(np.arange(300)), "test": everything.select(np.arange(300, 400))}}
        return assemble(spec, family="{name}", classes=("across", "along"), **parts)
'''

TEST = """\
from lnlbench.conformance import check_{kind}


def test_keeps_the_rules_of_the_suite():
    report = check_{kind}("{name}")
    assert report.passed, report
"""

SETUP = """\
[metadata]
name = lnlbench-{dashed}
version = 0.1.0
description = {title}, a {words} for lnlbench
long_description = file: README.md
long_description_content_type = text/markdown
license = MIT
license_files = LICENSE

[options]
python_requires = >=3.11
py_modules = {module}
install_requires =
    lnlbench >= {version}

[options.extras_require]
test =
    pytest >= 8.0

[options.entry_points]
lnlbench.{kind}s =
    {name} = {module}:{class_name}
"""

PYPROJECT = """\
[build-system]
requires = ["setuptools>=69"]
build-backend = "setuptools.build_meta"
"""

README = """\
# {title}

A {words} for lnlbench, the benchmark suite for learning with noisy labels.

```sh
pip install -e ".[test]"
pytest
{use}
```
"""

LICENCE = """\
MIT License

Copyright (c) the authors of lnlbench-{dashed}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

WORKFLOW = """\
name: tests
on: [push, pull_request]
jobs:
  tests:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.11"
      - run: pip install -e ".[test]"
      - run: pytest
"""


class Template(NamedTuple):
    """What is written for a kind of plugin: its code, its name in prose, and a first run with it."""

    code: str
    words: str
    use: str


TEMPLATES = {
    "method": Template(METHOD, "method", "lnlbench run --grid quickstart --set method={name}"),
    "backbone": Template(
        BACKBONE,
        "backbone",
        "lnlbench run --grid quickstart --set backbone={name} --set weights=none",
    ),
    "dataset": Template(DATASET, "data set", "lnlbench run --grid quickstart --set dataset={name}"),
}


def render(kind: str, name: str) -> dict[str, str]:
    """Return the files of a new plugin by their path in its folder.

    Parameters
    ----------
    kind : {"method", "backbone", "dataset"}
    name : str
        Small letters, digits and underscores.
    """
    code, words, use = TEMPLATES[kind]
    parts = name.split("_")
    values = {
        "kind": kind,
        "words": words,
        "name": name,
        "dashed": "-".join(parts),
        "title": " ".join(parts).capitalize(),
        "class_name": "".join(part.capitalize() for part in parts),
        "module": f"lnlbench_{name}",
        "version": __version__,
    }
    return {
        "README.md": README.format(use=use.format(name=name), **values),
        "LICENSE": LICENCE.format(**values),
        "pyproject.toml": PYPROJECT,
        "setup.cfg": SETUP.format(**values),
        ".github/workflows/tests.yml": WORKFLOW,
        f"lnlbench_{name}.py": code.format(**values),
        f"tests/test_{name}.py": TEST.format(**values),
    }
