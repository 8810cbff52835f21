"""``lnlbench check`` asks for the same bits every time, unless told not to."""

import torch

from lnlbench.cli import main
from lnlbench.errors import ExitCode

# Writes to one place twice, in an order that PyTorch does not promise.
PLUGIN = """
from lnlbench.api import Method, functional
from lnlbench.spec import Skip


class Puts(Method):
    \"\"\"Cross-entropy that writes into its inputs.\"\"\"

    @classmethod
    def supports(cls, spec):
        return None if spec.tuning == "lp" else Skip("it is not needed here")

    def loss(self, batch):
        inputs = batch.inputs.clone()
        inputs.put_(batch.index[:1] * 0, inputs.flatten()[:1])
        return functional.cross_entropy(self.network(inputs), batch.labels)
"""


def test_an_operator_that_cannot_repeat_is_found(tmp_path, capsys):
    plugin = tmp_path / "puts.py"
    plugin.write_text(PLUGIN)
    assert main(["check", str(plugin)]) == ExitCode.INCOMPLETE
    assert "put_ does not have a deterministic implementation" in capsys.readouterr().out
    assert not torch.are_deterministic_algorithms_enabled()
    main(["check", str(plugin), "--no-deterministic"])
    assert "deterministic implementation" not in capsys.readouterr().out
