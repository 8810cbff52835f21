"""What a backward pass costs where parts of a network learn: counted on the network as it was prepared."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lnlbench.models.ledger import Ledger
from lnlbench.models.network import Network


def count_backward_units(network: Network, side: int, ledger: Ledger) -> float:
    """Return the operations of a backward pass through a backbone, for one of a forward pass.

    Matrix products and convolutions, as PyTorch counts them while one grey image passes in eval mode (so
    that nothing is drawn, no statistic moves and no activation is computed twice), attention written out
    (so that the count does not depend on the device's kernels). Gradients of what does not learn, and
    those before the first part that does, are not computed, and not counted.

    Parameters
    ----------
    network : Network
        Prepared, so that it is known what learns.
    side : int
        Of the images, in pixels.
    ledger : Ledger
        Of the network; does not count the passes.

    Returns
    -------
    float
        From 0 (nothing of the backbone learns) to about 2 (everything does).
    """
    backbone, training = network.build(), network.training
    learning = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    if not learning:
        return 0.0
    counts: dict[str, Any] = {**ledger.to_dict()}
    units = ledger.backward_units
    ledger.backward_units = 2.0  # at which nothing is added up that could not be taken back
    network.eval()
    image = torch.zeros(1, 3, side, side, device=learning[0].device)
    try:
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            with FlopCounterMode(display=False) as forward:
                features = backbone(image)
            corrected: dict[Any, Any] = {torch.ops.aten.convolution_backward: _of_convolution}
            with FlopCounterMode(display=False, custom_mapping=corrected) as backward:
                torch.autograd.grad(features.sum(), learning, allow_unused=True)
    finally:
        network.train(training)
        ledger.load(counts)
        ledger.backward_units = units
    return float(round(backward.get_total_flops() / forward.get_total_flops(), 4))


def _of_convolution(
    gradient: Sequence[int], inputs: Sequence[int], weight: Sequence[int], *others: Any, out_shape: Any = None
) -> int:
    # PyTorch takes the weight's gradient of a grouped convolution for that of a dense one. Each of both
    # gradients takes the multiplications of the pass forward.
    _, _, _, _, transposed, _, _, (of_inputs, of_weight, _) = others
    places = (inputs if transposed else gradient)[2:]
    return 2 * int(inputs[0]) * prod(weight) * prod(places) * (int(of_inputs) + int(of_weight))
