"""Workers of Ray's processes know what is given by path."""

import numpy as np
import pytest
from PIL import Image

from lnlbench.plugins import registry
from lnlbench.spec import DatasetSpec
from lnlbench.trials.workspace import RunSettings, Workspace

PLUGIN = """
import dataclasses

from lnlbench.data.imagefolder import ImageFolder
from lnlbench.data.image_files import ListedFiles


class OwnFiles(ListedFiles):
    \"\"\"Images of a class that only this file has.\"\"\"


class OwnFolder(ImageFolder):
    \"\"\"Folders of own files.\"\"\"

    def load(self, spec, root):
        dataset = super().load(spec, root)
        images = dataset.train.images
        own = OwnFiles(images._root, images._names)
        return dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, images=own))
"""


@pytest.fixture
def folder(tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(3):
                pixels = np.full((8, 8, 3), 40 * number, np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{number}.png")
    (tmp_path / "own.py").write_text(PLUGIN)
    return tmp_path


def test_images_of_a_class_of_a_plugin_reach_the_workers(folder):
    registry.add_plugin(f"{folder}/own.py:OwnFolder")
    setting = RunSettings(data=None, cache=folder, plugins=tuple(registry.references()), workers=1)
    workspace = Workspace(setting, clean_workers=True)
    images = workspace.dataset(DatasetSpec(f"own_folder:{folder}")).train.images
    assert type(images).__name__ == "OwnFiles"
    workspace.workers.start()
    (length,) = workspace.workers.map(len, [images])
    assert length == 6
