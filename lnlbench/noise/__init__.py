"""Label noise: generators, their settings, their reports, and noise files (protocol, section 4)."""

from lnlbench.noise.corruption import NoisyLabels, check, corrupt
from lnlbench.noise.file import NoiseFile, read_noise_file, save_noise_file
from lnlbench.noise.inputs import raw_inputs
from lnlbench.noise.report import NoiseReport

__all__ = [
    "NoiseFile",
    "NoiseReport",
    "NoisyLabels",
    "check",
    "corrupt",
    "raw_inputs",
    "read_noise_file",
    "save_noise_file",
]
